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
    /// Does the same for each at once. The first failure cancels the others, and is thrown when all have ended.
    /// </summary>
    public static async Task AllAsync<T>(IReadOnlyList<T> items, Func<T, CancellationToken, Task> work, CancellationToken cancellationToken)
    {
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Exception? first = null;
        await Task.WhenAll(items.Select(WorkAsync));
        if (first is not null)
        {
            cancellationToken.ThrowIfCancellationRequested();
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
        }

        async Task WorkAsync(T item)
        {
            try
            {
                await work(item, failed.Token);
            }
            catch (Exception exception)
            {
                Interlocked.CompareExchange(ref first, exception, null);
                failed.Cancel();
            }
        }
    }

    /// <summary>
    /// The end of a completion source awaited directly by WhenAny would be carried to the thread pool; awaited, it ends here.
    /// </summary>
    private static async Task InContextAsync(Func<CancellationToken, Task> loop, CancellationToken cancellationToken) =>
        await loop(cancellationToken);
}
