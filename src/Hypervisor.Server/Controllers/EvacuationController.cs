using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers;

/// <summary>Moves instances away from nodes that are drained or have a taint that these do not tolerate: some of each node at a time.</summary>
internal sealed partial class EvacuationController(
    ClusterState state, Evictor evictor, Placer placer, DrainReports reports, TimeProvider time, ILogger<EvacuationController> logger) : IController
{
    public string Name => "evacuation";

    public async Task RunAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        while (true)
        {
            using var changes = state.Subscribe(state.View.Revision);
            var outcome = PassOutcome.Unfinished;
            try
            {
                outcome = await ReconcileAsync(term, cancellationToken);
            }
            catch (Exception exception) when (exception is StoreUnavailableException or StoreBusyException)
            {
                LogStoreAway(logger, exception.Message);
            }

            if (outcome == PassOutcome.Done)
            {
                await WaitForWorkAsync(changes, Limits.Control.ReconcilePeriod, cancellationToken);
            }
            else
            {
                await Task.Delay(Limits.Control.EvacuationRetry, time, cancellationToken);
            }
        }
    }

    /// <summary>One look at every node. Callable on its own.</summary>
    /// <returns>Waiting while something is to leave and cannot yet.</returns>
    public async Task<PassOutcome> ReconcileAsync(LeaderTerm term, CancellationToken cancellationToken)
    {
        using var timing = ServerInstruments.Reconciling(Name, time);
        var view = state.View;
        var outcome = PassOutcome.Done;
        foreach (var node in view.Nodes.Where(node => IsEvacuated(node) || DrainReports.IsTold(node)))
        {
            var obstacles = new DrainObstacles();
            if (IsEvacuated(node) && !await EvacuateAsync(term, view, node, obstacles, cancellationToken))
            {
                outcome = PassOutcome.Waiting;
            }

            var message = node.Scheduling == NodeScheduling.Draining ? obstacles.Message() : "";
            if (!await reports.TellAsync(term, node, message, cancellationToken))
            {
                outcome = PassOutcome.Unfinished;
            }
        }

        return outcome;
    }

    /// <returns>False while something is to leave and cannot yet.</returns>
    private async Task<bool> EvacuateAsync(LeaderTerm term, ClusterView view, NodeEntry node, DrainObstacles obstacles, CancellationToken cancellationToken)
    {
        var done = true;
        var under = view.InstancesOn(node).Count(instance => instance.Eviction is { InPlace: false });
        foreach (var instance in view.InstancesOn(node).OrderBy(instance => instance.Priority).ThenBy(instance => instance.Id.Value, StringComparer.Ordinal))
        {
            if (WhyLeave(node, instance) is not { } why)
            {
                continue;
            }

            // As of now: those who were told before this one count.
            var obstacle = DrainObstacles.Of(state.View, node, instance);
            if (obstacle is not null)
            {
                obstacles.Add(instance, obstacle);
            }

            if (!Evictions.CanMove(instance))
            {
                KeepPlace(term, instance);
                continue;
            }

            if (obstacle is not null || under >= Limits.Control.EvictionsPerNode)
            {
                done = false;
                continue;
            }

            switch (await EvictAsync(term, instance, why, cancellationToken))
            {
                case EvictionOutcome.Told:
                    under++;
                    break;
                case EvictionOutcome.NoPlace:
                    obstacles.Add(instance, DrainObstacles.NoPlace);
                    done = false;
                    break;
                default:
                    done = false;
                    break;
            }
        }

        return done;
    }

    /// <summary>A place ends with its leader's term, and when leaving takes long: another one is kept for who was told and is still there.</summary>
    private void KeepPlace(LeaderTerm term, InstanceEntry instance)
    {
        if (instance.Eviction is { InPlace: false, Reason: Evictions.Drained or Evictions.TaintNotTolerated } && placer.ClaimElsewhere(term, instance) is not null)
        {
            Placer.Asked(term, instance.Id, instance.PlacementRevision);
        }
    }

    private static bool IsEvacuated(NodeEntry node) =>
        node.Scheduling == NodeScheduling.Draining || node.SpecRecord.Spec?.Taints.Any(taint => taint.Effect == TaintEffect.NoExecute) == true;

    private static Eviction? WhyLeave(NodeEntry node, InstanceEntry instance)
    {
        if (node.Scheduling == NodeScheduling.Draining)
        {
            return new() { Reason = Evictions.Drained, Message = $"Node '{node.Name}' is drained." };
        }

        var taint = node.SpecRecord.Spec?.Taints.FirstOrDefault(taint =>
            taint.Effect == TaintEffect.NoExecute && !TaintFilter.IsTolerated(taint, instance.Spec.Constraints?.Tolerations ?? []));
        return taint is null ? null : new() { Reason = Evictions.TaintNotTolerated, Message = $"Node '{node.Name}' has the taint {TaintFilter.Text(taint)}, which it does not tolerate." };
    }

    /// <summary>
    /// From a drained node an instance leaves when another one has room for it: until then it runs where it is. A taint is stronger: what does not
    /// tolerate it leaves, and waits for room if it has to.
    /// </summary>
    private async Task<EvictionOutcome> EvictAsync(LeaderTerm term, InstanceEntry instance, Eviction why, CancellationToken cancellationToken)
    {
        var claimed = placer.ClaimElsewhere(term, instance) is not null;
        if (!claimed && why.Reason == Evictions.Drained)
        {
            return EvictionOutcome.NoPlace;
        }

        return await evictor.EvictAsync(term, instance, why, claimed, cancellationToken) ? EvictionOutcome.Told : EvictionOutcome.Changed;
    }

    private static async Task WaitForWorkAsync(ChangeSubscription changes, TimeSpan patience, CancellationToken cancellationToken)
    {
        while (true)
        {
            var read = await changes.ReadAsync(patience, cancellationToken);
            if (read.Kind is FeedReadKind.Resync or FeedReadKind.Idle
                || read.Change!.Nodes.Any(entry => entry.New is { } node && (IsEvacuated(node) || DrainReports.IsTold(node))))
            {
                return;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Evictions could not be written; trying again: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);

    private enum EvictionOutcome
    {
        Told,

        /// <summary>No other node takes it.</summary>
        NoPlace,

        /// <summary>Something about it changed meanwhile.</summary>
        Changed,
    }
}
