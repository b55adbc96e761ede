using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Agent.Instances;

/// <summary>
/// Asks one runtime, or the network, what it holds: when something hinted at a change, and from time to time. Each has one of its
/// own, so a source that does not answer keeps no other from being asked.
/// </summary>
/// <param name="name">Of who is asked, for people; it may change.</param>
/// <param name="compare">One question and what follows from its answer.</param>
internal sealed partial class Comparison(
    Func<string> name, Func<CancellationToken, Task> compare, RunnerServices services, ILogger logger)
{
    private readonly Signal _again = new();

    /// <summary>Something may have changed.</summary>
    public void Hint() => _again.Set();

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(Limits.RetryMinimum, Limits.RetryMaximum, services.Time, services.Random);
        using var timer = services.Time.CreateTimer(
            static signal => ((Signal)signal!).Set(), _again, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (true)
        {
            try
            {
                using var deadline = new CancellationTokenSource(Limits.ObserveDeadline, services.Time);
                using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
                await compare(linked.Token);
            }
            catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
            {
                // It cannot say what it holds: nothing is concluded, and it is asked again.
                LogMute(name(), failure is OperationCanceledException ? "no answer in time" : failure.Message);
                await backoff.WaitAsync(cancellationToken);
                continue;
            }

            backoff.Reset();
            timer.Change(Limits.ResyncInterval, Timeout.InfiniteTimeSpan);
            await _again.WaitAsync(cancellationToken);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Source} does not say what it holds ({Reason}); nothing is concluded from that, asking again")]
    private partial void LogMute(string source, string reason);
}
