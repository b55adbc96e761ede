using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>Decides and reserves in one step, for creates and for the placement controller alike; the caller commits.</summary>
internal sealed class Placer(ClusterState state, Scheduler scheduler, PlacementStrategy clusterDefault, TimeProvider time)
{
    private static readonly ResourcesFilter Grows = new();
    private static readonly HostPortsFilter Publishes = new();

    /// <summary>
    /// A plan, which also exists when nothing fits: then it records why. Null while an earlier plan for the instance is not settled.
    /// </summary>
    /// <param name="last">The epoch of the instance's last placement.</param>
    /// <param name="reserve">False for a dry run: the plan is shown and never settled.</param>
    public PlacementPlan? Plan(LeaderTerm term, InstanceId instance, InstanceSpec spec, Epoch last, bool reserve = true) =>
        Plan(term, instance, spec, last, only: null, reserve);

    /// <summary>
    /// As <see cref="Plan(LeaderTerm, InstanceId, InstanceSpec, Epoch, bool)"/> for an instance that is on a node already: its
    /// stay goes on, and a cordon does not matter. Room for it has to be there nevertheless (CapacitySafe).
    /// </summary>
    /// <param name="copy">The epoch it is there under.</param>
    public PlacementPlan? PlanStay(LeaderTerm term, InstanceId instance, InstanceSpec spec, Epoch copy, NodeId node) =>
        Plan(term, instance, spec, copy, node, reserve: true);

    private PlacementPlan? Plan(LeaderTerm term, InstanceId instance, InstanceSpec spec, Epoch last, NodeId? only, bool reserve)
    {
        var request = PlacementRequest.Of(instance, "", new Dictionary<string, string>(), spec, clusterDefault);
        lock (term.Reservations.Gate)
        {
            // One view for all: a reservation is forgotten only where this very view already counts it. Forgotten first, since
            // one whose commit is found not to have happened must not stand in the way of the instance's next placement.
            var view = state.View;
            term.Reservations.Forget(view.Revision);
            if (term.Reservations.Holds(instance))
            {
                return null;
            }

            if (only is null && spec.Source is { } source)
            {
                // Also when it is placed anew: of ephemeral disks nothing is left then, and it begins with copies again.
                request = request with { Source = new SourcePlace(view.Instance(new(source.InstanceUid)) is { Deleting: false } held ? held.NodeId : null) };
            }

            var nodes = term.Reservations.Overlay(view.Revision, Candidates(view, only, withPorts: request.Ports.Count > 0));
            var decision = scheduler.Decide(request, new(view.ResourceVersion, nodes), time.GetUtcNow());
            if (decision.Node is not { } node || view.Node(node.Id) is not { } entry)
            {
                return Unplaced(term, instance, last, decision.Reason, decision.Message, decision.Receipt);
            }

            if (reserve)
            {
                term.Reservations.Reserve(node.Id, request);
            }

            var epoch = Epoch.After(last, view.Incarnation);
            decision.Receipt.Epoch = epoch.Value;
            var placement = new Placement
            {
                Node = node.Name,
                NodeUid = node.Id.Value,
                Epoch = epoch.Value,
                PlacedAt = decision.Receipt.DecidedAt,
                FirstEpoch = only is null ? epoch.Value : last.Value,
            };

            // The node's spec unchanged: neither cordoned nor deregistered since.
            return new(
                term, instance,
                new PlacementRecord { Placement = placement, Reserved = request.Reserve.ToResources() },
                new ReceiptRecord { Receipt = decision.Receipt },
                [term.Guard, Compare.Modified(Keys.NodeSpec(node.Id), entry.SpecRevision)]);
        }
    }

    /// <summary>
    /// More or less of the node that the instance is on. Neither proposal nor refusal while an earlier decision about it is not
    /// settled, or when the caller's view of it is no longer the present one.
    /// </summary>
    public ResizeAnswer Resize(LeaderTerm term, InstanceEntry instance, InstanceSpec spec, bool reserve)
    {
        var request = PlacementRequest.Of(instance.Id, instance.Project, instance.Metadata.Labels, spec, clusterDefault);
        lock (term.Reservations.Gate)
        {
            var view = state.View;
            term.Reservations.Forget(view.Revision);
            if (term.Reservations.Holds(instance.Id)
                || view.Instance(instance.Id)?.PlacementRevision != instance.PlacementRevision
                || instance.NodeId is not { } nodeId)
            {
                return default;
            }

            var own = (instance.Spec.Network?.Ports ?? []).Select(PortClaim.Of).ToList();
            var more = request with
            {
                Reserve = request.Reserve.Beyond(ResourceAmount.Of(instance.PlacementRecord?.Reserved)),
                Ports = [.. request.Ports.Where(port => !own.Contains(port))],
            };
            var candidates = Candidates(view, nodeId, withPorts: more.Ports.Count > 0);
            if (term.Reservations.Overlay(view.Revision, candidates) is not [var node])
            {
                return new(null, "is not in the cluster");
            }

            // A claim of its own that it gives up with this update is no obstacle to itself.
            node = node with { UsedPorts = [.. node.UsedPorts.Where(port => !own.Contains(port))] };
            if ((Grows.Judge(more, node) ?? Publishes.Judge(more, node)) is { } rejection)
            {
                return new(null, rejection.OfOne);
            }

            if (reserve)
            {
                term.Reservations.Reserve(nodeId, more);
            }

            var placement = instance.PlacementRecord!.Clone();
            placement.Reserved = request.Reserve.ToResources();
            return new(new ResizePlan(term, instance, placement));
        }
    }

    /// <summary>An instance that stays where no scheduler may move it, for example since its local disk is gone.</summary>
    public PlacementPlan Refuse(LeaderTerm term, InstanceId instance, Epoch last, string reason, string message) =>
        Unplaced(term, instance, last, reason, message, new PlacementReceipt
        {
            InstanceUid = instance.Value,
            ViewResourceVersion = state.View.ResourceVersion.Value,
            DecidedAt = time.GetUtcNow().ToTimestamp(),
            Message = message,
        });

    private static PlacementPlan Unplaced(
        LeaderTerm term, InstanceId instance, Epoch last, string reason, string message, PlacementReceipt receipt)
    {
        // The epoch stays: the next placement has to be above it.
        receipt.Epoch = last.Value;
        var placement = new Placement { Epoch = last.Value, Reason = reason, Message = message };
        return new(
            term, instance, new PlacementRecord { Placement = placement }, new ReceiptRecord { Receipt = receipt }, [term.Guard]);
    }

    private static List<CandidateNode> Candidates(ClusterView view, NodeId? only, bool withPorts)
    {
        var candidates = new List<CandidateNode>(only is null ? view.NodeCount : 1);
        foreach (var node in view.Nodes)
        {
            if (node.Inventory is not { } inventory || (only is { } here && node.Id != here))
            {
                continue;
            }

            var allocated = node.Allocated;
            candidates.Add(new(
                node.Id, node.Name, only is null ? node.Scheduling : NodeScheduling.Schedulable, node.Liveness, inventory, node.Labels,
                ResourceAmount.Of(inventory.Capacity),
                new(allocated.CpuMillicores, allocated.MemoryBytes, allocated.DiskBytes),
                node.InstanceUids.Count,
                withPorts ? [.. view.InstancesOn(node).SelectMany(PortsOf)] : []));
        }

        return candidates;
    }

    private static IEnumerable<PortClaim> PortsOf(InstanceEntry instance) => (instance.Spec.Network?.Ports ?? []).Select(PortClaim.Of);
}
