namespace Hypervisor.Hosting.Waiting;

/// <summary>Runs loops that only make sense together.</summary>
internal static class Together
{
    /// <summary>
    /// Ends when the first of them ends or fails, after the others were cancelled and have ended; throws what the first threw.
    /// </summary>
    public static async Task RunAsync(CancellationToken cancellationToken, params IReadOnlyList<Func<CancellationToken, Task>> loops)
    {
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var tasks = loops.Select(loop => InContextAsync(loop, stopping.Token)).ToList();
        var first = await Task.WhenAny(tasks);
        stopping.Cancel();
        await Task.WhenAll(tasks).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>
    /// The end of a completion source awaited directly by WhenAny would be carried to the thread pool; awaited, it ends here.
    /// </summary>
    private static async Task InContextAsync(Func<CancellationToken, Task> loop, CancellationToken cancellationToken) =>
        await loop(cancellationToken);
}
