using System.Diagnostics;

namespace Hypervisor.Server.State;

/// <summary>Those who wait for the view to reach a revision.</summary>
internal sealed class RevisionWaiters
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<(long Revision, long Number), TaskCompletionSource> _waiters = [];
    private long _numbers;

    /// <summary>How many wait at present.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _waiters.Count;
            }
        }
    }

    /// <param name="current">The view's revision; asked again under the lock, so that no advance is missed.</param>
    public async Task WaitAsync(long revision, Func<long> current, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        (long Revision, long Number) place;
        lock (_lock)
        {
            if (current() >= revision)
            {
                return;
            }

            place = (revision, _numbers++);
            _waiters.Add(place, waiter);
        }

        try
        {
            using (cancellationToken.UnsafeRegister(static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), waiter))
            {
                await waiter.Task;
            }
        }
        catch (OperationCanceledException)
        {
            // Clients choose the revisions that they wait for: one that never comes must not keep its waiters for ever.
            lock (_lock)
            {
                _waiters.Remove(place);
            }

            throw;
        }

        Debug.Assert(current() >= revision, "A waiter is released by its revision only.");
    }

    public void Advance(long revision)
    {
        List<TaskCompletionSource>? released = null;
        lock (_lock)
        {
            while (_waiters.Count > 0 && _waiters.First() is var (place, waiter) && place.Revision <= revision)
            {
                _waiters.Remove(place);
                (released ??= []).Add(waiter);
            }
        }

        foreach (var waiter in released ?? [])
        {
            waiter.TrySetResult();
        }
    }
}
