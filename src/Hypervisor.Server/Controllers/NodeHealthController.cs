using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers;

/// <summary>Turns heartbeats and their absence into the liveness that the store holds. Only transitions are written.</summary>
internal sealed partial class NodeHealthController(
    ClusterState state,
    StoreWriter writer,
    HeartbeatTable beats,
    HeartbeatTerms terms,
    TimeProvider time,
    ILogger<NodeHealthController> logger) : IController
{
    public string Name => "node-health";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        var window = new ListeningWindow(terms, time);
        while (true)
        {
            var view = state.View;
            using var changes = state.Subscribe(view.Revision);
            var now = time.GetTimestamp();
            var listening = window.Look(now, out var gap);
            if (gap is { } away)
            {
                LogAway(logger, away.TotalSeconds, terms.Lease.TotalSeconds);
            }

            await LookAsync(term, view, listening, now, cancellationToken);
            await WaitAsync(changes, cancellationToken);
        }
    }

    /// <summary>Judges every node once and writes what changed.</summary>
    /// <param name="listening">How long this process has been listening without a gap.</param>
    /// <param name="now">A timestamp of the clock.</param>
    public async Task LookAsync(LeaderTerm term, ClusterView view, TimeSpan listening, long now, CancellationToken cancellationToken)
    {
        using var timing = ServerInstruments.Reconciling(Name, time);
        var writes = new List<Task>();
        foreach (var node in view.Nodes)
        {
            TimeSpan? silence = beats.LastOf(node.Id) is { } beat ? time.GetElapsedTime(beat.At, now) : null;
            var verdict = Liveness.Decide(node.Liveness, silence, listening, terms);
            if (verdict.Liveness != node.Liveness)
            {
                writes.Add(WriteAsync(term, node, verdict, cancellationToken));
            }
        }

        try
        {
            await Task.WhenAll(writes);
        }
        catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
        {
            // The next look comes within one interval and judges anew.
            LogStoreAway(logger, exception.Message);
        }
    }

    private async Task WriteAsync(LeaderTerm term, NodeEntry node, LivenessVerdict verdict, CancellationToken cancellationToken)
    {
        var record = new NodeHealthRecord
        {
            Liveness = verdict.Liveness,
            Since = time.GetUtcNow().ToTimestamp(),
            Message = verdict.Message,
        };
        var result = await writer.WriteAsync(
            new(
                [
                    term.Guard,
                    Compare.Modified(Keys.NodeSpec(node.Id), node.SpecRevision),
                    Compare.Modified(Keys.NodeHealth(node.Id), node.HealthRevision),
                ],
                [new StoreOperation.Put(Keys.NodeHealth(node.Id), record.ToByteArray())]),
            cancellationToken);

        // Also after a lost race: the next look must see what won.
        await state.WaitForRevisionAsync(result.Revision, cancellationToken);
        if (result.Succeeded)
        {
            LogTransition(logger, node.Name, node.Liveness, verdict.Liveness, verdict.Message);
        }
    }

    /// <summary>One interval at most; sooner when a silent node is heard or a node comes.</summary>
    private Task WaitAsync(ChangeSubscription changes, CancellationToken cancellationToken) => Together.RunAsync(
        cancellationToken,
        token => Task.Delay(terms.Interval, time, token),
        beats.WaitForNewsAsync,
        token => ArrivalAsync(changes, token));

    private static async Task ArrivalAsync(ChangeSubscription changes, CancellationToken cancellationToken)
    {
        while (true)
        {
            var read = await changes.ReadAsync(Limits.Control.ReconcilePeriod, cancellationToken);
            if (read.Kind == FeedReadKind.Resync || read.Change?.Nodes.Any(node => node.Old is null) == true)
            {
                return;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Node {Node}: {Before} to {After}. {Reason}")]
    private static partial void LogTransition(ILogger logger, string node, NodeLiveness before, NodeLiveness after, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "This process did not run for {Seconds:0.0} s; every node has a full lease of {Lease} s from now")]
    private static partial void LogAway(ILogger logger, double seconds, double lease);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Liveness could not be written; judging again within one interval: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
