using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Events;

/// <summary>
/// Writes down what happens, from the leader's view of the changes. Collected for a moment and joined with what happened alike: a
/// thousand placements are a handful of commits, and nobody waits for them. What happens while nobody leads is not told.
/// </summary>
internal sealed partial class EventRecorder(ClusterState state, StoreWriter writer, TimeProvider time, ILogger<EventRecorder> logger) : IController
{
    public string Name => "events";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        var waiting = new WaitingEvents();
        var subscription = state.Subscribe(state.View.Revision);
        try
        {
            while (true)
            {
                var read = await subscription.ReadAsync(Limits.Control.ReconcilePeriod, cancellationToken);
                if (Take(read, waiting) && waiting.Count > 0)
                {
                    await Task.Delay(Limits.Events.Collected, time, cancellationToken);
                    while (read.Kind == FeedReadKind.Change)
                    {
                        Take(read = subscription.Read(), waiting);
                    }

                    await WriteAsync(term, waiting, cancellationToken);
                }

                if (read.Kind == FeedReadKind.Resync)
                {
                    subscription.Dispose();
                    subscription = state.Subscribe(state.View.Revision);
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
    public async Task WriteAsync(LeaderTerm term, WaitingEvents waiting, CancellationToken cancellationToken)
    {
        if (waiting.Lost > 0)
        {
            LogLost(logger, waiting.Lost);
            waiting.Lost = 0;
        }

        try
        {
            var results = await Task.WhenAll(waiting.Operations(state.View)
                .Chunk(Limits.Events.PerWrite)
                .Select(part => writer.WriteAsync(new([term.Guard], part), cancellationToken)));
            waiting.Clear();

            // The next count adds to this one.
            await state.WaitForRevisionAsync(results.Max(result => result.Revision), cancellationToken);
        }
        catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
        {
            // They wait on, within bounds. An outcome that is unknown may count some of them twice.
            LogStoreAway(logger, exception.Message);
        }
    }

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
