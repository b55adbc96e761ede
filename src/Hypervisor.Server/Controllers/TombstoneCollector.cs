using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

/// <summary>
/// Removes tombstones that are old enough and that no node is still owed: each has acknowledged the removal or was deregistered.
/// </summary>
internal sealed partial class TombstoneCollector(
    ClusterState state, StoreWriter writer, TimeProvider time, ILogger<TombstoneCollector> logger) : IController
{
    public string Name => "tombstones";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                await CollectAsync(term, cancellationToken);
            }
            catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
            {
                LogStoreAway(logger, exception.Message);
            }

            await Task.Delay(Limits.Control.CollectionPeriod, time, cancellationToken);
        }
    }

    /// <summary>One pass; answers how many went.</summary>
    public async Task<int> CollectAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        var view = state.View;
        var before = time.GetUtcNow() - Limits.Control.TombstoneLifetime;
        var due = view.Tombstones
            .Where(tombstone => tombstone.Record.DeletedAt.ToDateTimeOffset() <= before
                && tombstone.Record.PendingNodeUids.Concat(tombstone.Record.Purges.Keys).All(uid => view.Node(new(uid)) is null))
            .Take(Limits.Control.TombstonesPerPass);
        var collected = 0;
        foreach (var chunk in due.Chunk(Limits.Control.WritesInFlight))
        {
            var results = await Task.WhenAll(chunk.Select(tombstone => writer.WriteAsync(
                new(
                    [term.Guard, Compare.Modified(Keys.Tombstone(tombstone.Id), tombstone.ModRevision)],
                    [new StoreOperation.Delete(Keys.Tombstone(tombstone.Id))]),
                cancellationToken)));
            collected += results.Count(result => result.Succeeded);
        }

        if (collected > 0)
        {
            LogCollected(logger, collected);
        }

        return collected;
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "{Count} tombstones collected")]
    private static partial void LogCollected(ILogger logger, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Tombstones could not be collected; trying again with the next pass: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
