namespace Hypervisor.Server.Stores;

/// <summary>
/// Wakes one waiter. A pulse that comes while nobody waits is remembered, several are one.
/// </summary>
/// <remarks>
/// Not <see cref="Task.WaitAsync(CancellationToken)"/> on a shared task, which completes its waiters on the thread pool:
/// here the waiter resumes on its own synchronization context, as the simulation needs.
/// </remarks>
internal sealed class Pulse
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _waiter;
    private bool _pending;

    public void Set()
    {
        TaskCompletionSource? waiter;
        lock (_gate)
        {
            waiter = _waiter;
            _waiter = null;
            _pending = waiter is null;
        }

        waiter?.TrySetResult();
    }

    /// <summary>Returns after the next pulse, or at once if one came since the last return.</summary>
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

        using var registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource)state!).TrySetCanceled(token), waiter);
        await waiter.Task;
    }
}
