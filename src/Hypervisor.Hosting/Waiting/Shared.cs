namespace Hypervisor.Hosting.Waiting;

/// <summary>Work that several wait for.</summary>
internal static class Shared
{
    /// <summary>
    /// Waits for the work; giving up ends this wait, not the work. Each wait that was given up is remembered until the work
    /// ends, so the work needs an end.
    /// </summary>
    /// <remarks><see cref="Task{T}.WaitAsync(CancellationToken)"/> would continue on the thread pool.</remarks>
    public static async Task<T> WaitAsync<T>(Task<T> work, CancellationToken cancellationToken)
    {
        if (work.IsCompleted || !cancellationToken.CanBeCanceled)
        {
            return await work;
        }

        var outcome = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((TaskCompletionSource<T>)state!).TrySetCanceled(token), outcome);
        _ = FollowAsync(work, outcome);
        return await outcome.Task;
    }

    private static async Task FollowAsync<T>(Task<T> work, TaskCompletionSource<T> outcome)
    {
        await ((Task)work).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        outcome.TrySetFromTask(work);
    }
}
