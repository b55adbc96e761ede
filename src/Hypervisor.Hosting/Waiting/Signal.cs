namespace Hypervisor.Hosting.Waiting;

/// <summary>
/// "Look again": any number of <see cref="Set"/> before a wait count as one. One waiter at a time.
/// </summary>
/// <remarks>
/// The waiter resumes in its own synchronization context, never inside <see cref="Set"/>. A channel or
/// <see cref="Task.WaitAsync(CancellationToken)"/> on a shared task would complete it on the thread pool.
/// </remarks>
internal sealed class Signal
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _waiter;
    private bool _pending;

    public void Set()
    {
        TaskCompletionSource? waiter;
        lock (_gate)
        {
            (waiter, _waiter) = (_waiter, null);
            _pending = waiter is null;
        }

        waiter?.TrySetResult();
    }

    /// <summary>Returns after the next <see cref="Set"/>, or at once if one came since the last return.</summary>
    public async Task WaitAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        TaskCompletionSource waiter;
        lock (_gate)
        {
            if (_pending)
            {
                _pending = false;
                return;
            }

            waiter = _waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        using var registration = cancellationToken.UnsafeRegister(_ => Abandon(waiter, cancellationToken), null);
        await waiter.Task;
    }

    private void Abandon(TaskCompletionSource waiter, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            // Taken by Set already: the wait ends well. Otherwise nobody waits any more, and the next Set has to be remembered.
            if (!ReferenceEquals(_waiter, waiter))
            {
                return;
            }

            _waiter = null;
        }

        waiter.TrySetCanceled(cancellationToken);
    }
}
