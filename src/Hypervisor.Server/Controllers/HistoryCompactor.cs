using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

/// <summary>Makes the store forget superseded revisions, by age and by number.</summary>
internal sealed partial class HistoryCompactor(IClusterStore store, TimeProvider time, ILogger<HistoryCompactor> logger) : IController
{
    // One sample a minute for ten minutes.
    private readonly Queue<(long At, long Revision)> _samples = new();

    public string Name => "history";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        _samples.Clear();
        while (true)
        {
            try
            {
                await CompactAsync(cancellationToken);
            }
            catch (StoreUnavailableException exception)
            {
                LogStoreAway(logger, exception.Message);
            }

            await Task.Delay(Limits.Control.CollectionPeriod, time, cancellationToken);
        }
    }

    /// <summary>One pass; answers the oldest revision it left readable, 0 when it forgot nothing.</summary>
    /// <remarks>Not guarded: compaction changes no key, and two leaders that compact only forget what either may.</remarks>
    public async Task<long> CompactAsync(CancellationToken cancellationToken)
    {
        var now = time.GetTimestamp();
        var revision = await store.GetRevisionAsync(cancellationToken);
        _samples.Enqueue((now, revision));
        var target = revision - Limits.Control.RevisionsKept;
        while (_samples.TryPeek(out var oldest) && time.GetElapsedTime(oldest.At, now) >= Limits.Control.HistoryKept)
        {
            target = Math.Max(target, oldest.Revision);
            _samples.Dequeue();
        }

        if (target <= 0)
        {
            return 0;
        }

        await store.CompactAsync(target, cancellationToken);
        LogCompacted(logger, target, revision);
        return target;
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "Revisions before {Oldest} are forgotten; the store is at {Revision}")]
    private static partial void LogCompacted(ILogger logger, long oldest, long revision);

    [LoggerMessage(Level = LogLevel.Warning, Message = "History could not be compacted; trying again with the next pass: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
