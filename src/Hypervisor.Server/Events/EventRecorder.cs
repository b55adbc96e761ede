using Google.Protobuf;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Events;

/// <summary>
/// Writes down what happens, from the leader's view of the changes. Collected for a moment and joined with what happened alike: a
/// thousand placements are a handful of commits, and nobody waits for them. How far it has told is written with the events: the next
/// leader goes on from there, so that what happens while nobody leads is told too, as far as the log of changes reaches.
/// </summary>
internal sealed partial class EventRecorder(
    ClusterState state, IClusterStore store, StoreWriter writer, TimeProvider time, ILogger<EventRecorder> logger) : IController
{
    public string Name => "events";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        var waiting = new WaitingEvents();
        var told = await BeginAsync(term, cancellationToken);
        var subscription = state.Subscribe(told);
        try
        {
            while (true)
            {
                var read = await subscription.ReadAsync(Limits.Control.ReconcilePeriod, cancellationToken);
                var taken = read.Revision;
                if (Take(read, waiting) && waiting.Count > 0)
                {
                    await Task.Delay(Limits.Events.Collected, time, cancellationToken);
                    while (read.Kind == FeedReadKind.Change)
                    {
                        taken = read.Revision;
                        Take(read = subscription.Read(), waiting);
                    }

                    told = await WriteAsync(term, waiting, taken, cancellationToken) ? taken : told;
                }
                else if (read.Kind == FeedReadKind.Change && taken - told > Limits.Events.ProgressRevisions)
                {
                    told = await WriteAsync(term, waiting, taken, cancellationToken) ? taken : told;
                }

                if (read.Kind == FeedReadKind.Resync)
                {
                    subscription.Dispose();
                    subscription = state.Subscribe(told = state.View.Revision);
                    LogGap(logger);
                }
            }
        }
        finally
        {
            subscription.Dispose();
        }
    }

    /// <summary>One pass; what is written or given up is no longer waiting.</summary>
    /// <param name="told">The revision up to which everything worth telling is among the waiting ones.</param>
    /// <returns>Whether the store has taken them.</returns>
    public async Task<bool> WriteAsync(LeaderTerm term, WaitingEvents waiting, long told, CancellationToken cancellationToken)
    {
        if (waiting.Lost > 0)
        {
            LogLost(logger, waiting.Lost);
            waiting.Lost = 0;
        }

        try
        {
            // One after the other: thousands at once would have everybody else's writes wait behind them. How far it has told comes last: a crash in
            // between has some told twice rather than none.
            var result = default(WriteResult);
            foreach (var part in waiting.Operations(state.View).Append(Progress(told)).Chunk(Limits.Events.PerWrite))
            {
                result = await writer.WriteAsync(new([term.Guard], part), cancellationToken);
                if (!result.Succeeded)
                {
                    // Another leads, and tells them.
                    break;
                }
            }

            waiting.Clear();

            // The next count adds to this one.
            await state.WaitForRevisionAsync(result.Revision, cancellationToken);
            return result.Succeeded;
        }
        catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
        {
            // They wait on, within bounds. An outcome that is unknown may count some of them twice.
            LogStoreAway(logger, exception.Message);
            return false;
        }
    }

    /// <summary>Where the leader before stopped telling. In a store that nobody told of yet, now.</summary>
    public async Task<long> BeginAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                var present = state.View.Revision;
                var held = await store.RangeAsync(RangeQuery.Single(Keys.EventsRecorded), cancellationToken);
                if (held.Items.Count > 0 && EventProgressRecord.Parser.ParseFrom(held.Items[0].Value.Span).Revision is var told && told <= present)
                {
                    return told;
                }

                await writer.WriteAsync(new([term.Guard], [Progress(present)]), cancellationToken);
                return present;
            }
            catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
            {
                LogStoreAway(logger, exception.Message);
                await Task.Delay(Limits.Control.CampaignRetry, time, cancellationToken);
            }
        }
    }

    private static StoreOperation.Put Progress(long told) =>
        new(Keys.EventsRecorded, new EventProgressRecord { Revision = told }.ToByteArray());

    private bool Take(FeedRead read, WaitingEvents waiting)
    {
        foreach (var occurrence in read.Change is { } change ? EventRules.Of(change) : [])
        {
            waiting.Add(occurrence, time.GetUtcNow());
        }

        return read.Change is not null;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "More happened than could be followed; events of a moment are missing")]
    private static partial void LogGap(ILogger logger);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Count} events were dropped: too many kinds at once")]
    private static partial void LogLost(ILogger logger, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Events could not be written; they wait for the next: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
