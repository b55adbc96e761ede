using System.Diagnostics;

namespace Hypervisor.Server.State;

/// <summary>Those who wait for the view to reach a revision.</summary>
internal sealed class RevisionWaiters
{
    private readonly Lock _lock = new();

    /// <summary>Thousands of writes share a revision, and few revisions are waited for at once.</summary>
    private readonly SortedDictionary<long, LinkedList<TaskCompletionSource>> _waiters = [];

    /// <summary>How many wait at present.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _waiters.Values.Sum(waiters => waiters.Count);
            }
        }
    }

    /// <param name="current">The view's revision; asked again under the lock, so that no advance is missed.</param>
    public async Task WaitAsync(long revision, Func<long> current, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        LinkedListNode<TaskCompletionSource> place;
        lock (_lock)
        {
            if (current() >= revision)
            {
                return;
            }

            if (!_waiters.TryGetValue(revision, out var waiters))
            {
                _waiters.Add(revision, waiters = new());
            }

            place = waiters.AddLast(waiter);
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
                Remove(revision, place);
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
            while (_waiters.Count > 0 && _waiters.First() is var (reached, waiters) && reached <= revision)
            {
                _waiters.Remove(reached);
                (released ??= []).AddRange(waiters);
            }
        }

        foreach (var waiter in released ?? [])
        {
            waiter.TrySetResult();
        }
    }

    /// <summary>Nothing when its revision came meanwhile.</summary>
    private void Remove(long revision, LinkedListNode<TaskCompletionSource> place)
    {
        if (_waiters.TryGetValue(revision, out var waiters) && waiters == place.List)
        {
            waiters.Remove(place);
            if (waiters.Count == 0)
            {
                _waiters.Remove(revision);
            }
        }
    }
}
