namespace Hypervisor.Agent.Logs;

/// <summary>"Look again", for any number of waiters: take <see cref="Next"/>, look, and await it when there was nothing.</summary>
internal sealed class Broadcast
{
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task Next => Volatile.Read(ref _next).Task;

    public void Set() => Interlocked.Exchange(ref _next, new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();
}
