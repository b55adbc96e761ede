using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Telemetry;

namespace Hypervisor.Server.Controllers;

/// <summary>Moves instances away from nodes that are drained or have a taint that these do not tolerate: some of each node at a time.</summary>
internal sealed partial class EvacuationController(
    ClusterState state, Evictor evictor, Placer placer, TimeProvider time, ILogger<EvacuationController> logger) : IController
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
        foreach (var node in view.Nodes.Where(IsEvacuated))
        {
            var under = view.InstancesOn(node).Count(instance => instance.IsEvicted);
            foreach (var instance in view.InstancesOn(node).OrderBy(instance => instance.Priority).ThenBy(instance => instance.Id.Value, StringComparer.Ordinal))
            {
                if (WhyLeave(node, instance) is not { } why || !Evictions.CanMove(instance))
                {
                    continue;
                }

                if (under >= Limits.Control.EvictionsPerNode
                    || !DisruptionBudgets.MayDisturb(state.View, instance)
                    || !await EvictAsync(term, instance, why, cancellationToken))
                {
                    outcome = PassOutcome.Waiting;
                    continue;
                }

                under++;
            }
        }

        return outcome;
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
    private async Task<bool> EvictAsync(LeaderTerm term, InstanceEntry instance, Eviction why, CancellationToken cancellationToken)
    {
        var claimed = placer.ClaimElsewhere(term, instance) is not null;
        return (claimed || why.Reason != Evictions.Drained) && await evictor.EvictAsync(term, instance, why, claimed, cancellationToken);
    }

    private static async Task WaitForWorkAsync(ChangeSubscription changes, TimeSpan patience, CancellationToken cancellationToken)
    {
        while (true)
        {
            var read = await changes.ReadAsync(patience, cancellationToken);
            if (read.Kind is FeedReadKind.Resync or FeedReadKind.Idle
                || read.Change!.Nodes.Any(entry => entry.New is { } node && IsEvacuated(node)))
            {
                return;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Evictions could not be written; trying again: {Reason}")]
    private static partial void LogStoreAway(ILogger logger, string reason);
}
