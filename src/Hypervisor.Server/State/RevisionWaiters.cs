using System.Diagnostics;

namespace Hypervisor.Server.State;

/// <summary>Those who wait for the view to reach a revision.</summary>
internal sealed class RevisionWaiters
{
    private readonly Lock _lock = new();
    private readonly PriorityQueue<TaskCompletionSource, (long Revision, long Number)> _waiters = new();
    private long _numbers;

    /// <param name="current">The view's revision; asked again under the lock, so that no advance is missed.</param>
    public async Task WaitAsync(long revision, Func<long> current, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            if (current() >= revision)
            {
                return;
            }

            _waiters.Enqueue(waiter, (revision, _numbers++));
        }

        // A cancelled waiter stays queued until its revision comes: revisions keep coming, and it is small.
        using (cancellationToken.UnsafeRegister(static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), waiter))
        {
            await waiter.Task;
        }

        Debug.Assert(current() >= revision, "A waiter is released by its revision only.");
    }

    public void Advance(long revision)
    {
        List<TaskCompletionSource>? released = null;
        lock (_lock)
        {
            while (_waiters.TryPeek(out var waiter, out var at) && at.Revision <= revision)
            {
                _waiters.Dequeue();
                (released ??= []).Add(waiter);
            }
        }

        foreach (var waiter in released ?? [])
        {
            waiter.TrySetResult();
        }
    }
}
