using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>Decides and reserves in one step, for creates and for the placement controller alike; the caller commits.</summary>
internal sealed partial class Placer(ClusterState state, PlacementStrategy clusterDefault, TimeProvider time)
{
    private static readonly ResourcesFilter Grows = new();
    private static readonly HostPortsFilter Publishes = new();
    private static readonly DevicesFilter Takes = new();

    /// <summary>
    /// A plan for one that nobody has seen yet, which also exists when nothing fits: then it records why. Null while an earlier plan for it is not
    /// settled, and when others stand in line before it.
    /// </summary>
    /// <param name="last">The epoch of the instance's last placement.</param>
    /// <param name="reserve">False for a dry run: the plan is shown and never settled.</param>
    public PlacementPlan? Plan(LeaderTerm term, InstanceId instance, InstanceSpecRecord record, Epoch last, bool reserve = true)
    {
        lock (term.Fleet.Gate)
        {
            // Before it is asked who is held: what is found not to have happened must not stand in the way of the instance's next placement.
            CatchUp(term);
            var (fleet, view) = (term.Fleet, state.View);
            fleet.Queue.Wake();
            if (fleet.Ledger.Holds(instance) || (reserve && fleet.Queue.HasActive))
            {
                return null;
            }

            var request = RequestOf(instance, record, view);
            var asked = fleet.Ledger.Classes.Of(request);
            return Place(term, asked, request, last, view, reserve)
                ?? Unplaced(term, instance, last, WhyNot(fleet.Ledger, asked, request, view));
        }
    }

    /// <summary>
    /// As <see cref="Plan"/> for an instance that is on a node already: its stay goes on, and neither a cordon nor its neighbours matter. Room for
    /// it has to be there nevertheless (CapacitySafe).
    /// </summary>
    /// <param name="copy">The epoch it is there under.</param>
    public PlacementPlan? PlanStay(LeaderTerm term, InstanceId instance, InstanceSpecRecord record, Epoch copy, NodeId node)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var (ledger, view) = (term.Fleet.Ledger, state.View);
            var request = RequestOf(instance, record, view) with { Affinity = [], AntiAffinity = [], Spread = [], Source = null };
            if (ledger.Holds(instance))
            {
                return null;
            }

            var row = ledger.Fleet.Find(node);
            CandidateNode[] only = row < 0 ? [] : [ledger.Fleet.CandidateAt(row)! with { Scheduling = NodeScheduling.Schedulable, Taints = [] }];
            var decision = Scheduler.Decide(request, new(view.ResourceVersion, only), time.GetUtcNow());
            if (decision.Node is null)
            {
                return Unplaced(term, instance, copy, decision);
            }

            ledger.Reserve(instance, StayOf(node, request, KindOf(ledger, request)));
            var epoch = Epoch.After(copy, view.Incarnation);
            decision.Receipt.Epoch = epoch.Value;
            var stays = PlacementOn(ledger.Fleet.NodeAt(row)!, request, epoch, first: copy, time.GetUtcNow());
            return Placed(term, instance, ledger.Fleet.NodeAt(row)!, stays, new() { Receipt = decision.Receipt });
        }
    }

    /// <summary>
    /// More or less of the node that the instance is on. Neither proposal nor refusal while an earlier decision about it is not
    /// settled, or when the caller's view of it is no longer the present one.
    /// </summary>
    public ResizeAnswer Resize(LeaderTerm term, InstanceEntry instance, InstanceSpec spec, bool reserve)
    {
        var record = instance.SpecRecord.Clone();
        record.Spec = spec;
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var ledger = term.Fleet.Ledger;
            var request = RequestOf(instance.Id, record, state.View);
            if (ledger.Holds(instance.Id)
                || state.View.Instance(instance.Id)?.PlacementRevision != instance.PlacementRevision
                || instance.NodeId is not { } nodeId)
            {
                return default;
            }

            var own = (instance.Spec.Network?.Ports ?? []).Select(PortClaim.Of).ToList();
            var more = request with
            {
                Reserve = request.Reserve.Beyond(ResourceAmount.Of(instance.PlacementRecord?.Reserved)),
                Devices = request.Devices.Beyond(DeviceAmounts.Of(instance.PlacementRecord?.Reserved)),
                Ports = [.. request.Ports.Where(port => !own.Contains(port))],
            };
            var row = ledger.Fleet.Find(nodeId);
            if (row < 0)
            {
                return new(null, "is not in the cluster");
            }

            // A claim of its own that it gives up with this update is no obstacle to itself.
            var node = ledger.Fleet.CandidateAt(row)!;
            node = node with { UsedPorts = [.. node.UsedPorts.Where(port => !own.Contains(port))] };
            if ((Grows.Judge(more, node) ?? Publishes.Judge(more, node) ?? Takes.Judge(more, node)) is { } rejection)
            {
                return new(null, rejection.OfOne);
            }

            if (reserve)
            {
                ledger.Reserve(instance.Id, StayOf(nodeId, request, KindOf(ledger, request)));
            }

            var placement = instance.PlacementRecord!.Clone();
            placement.Reserved = request.ToReserved();
            return new(new ResizePlan(term, instance, placement));
        }
    }

    /// <summary>An instance that stays where no scheduler may move it, for example since its local disk is gone.</summary>
    public PlacementPlan Refuse(LeaderTerm term, InstanceId instance, Epoch last, string reason, string message) =>
        Unplaced(term, instance, last, new(null, reason, message, new PlacementReceipt
        {
            InstanceUid = instance.Value,
            ViewResourceVersion = state.View.ResourceVersion.Value,
            DecidedAt = time.GetUtcNow().ToTimestamp(),
            Message = message,
        }));

    private static PlacementPlan Unplaced(LeaderTerm term, InstanceId instance, Epoch last, PlacementDecision why)
    {
        // The epoch stays: the next placement has to be above it.
        var receipt = why.Receipt.Clone();
        (receipt.InstanceUid, receipt.Epoch) = (instance.Value, last.Value);
        var placement = new Placement { Epoch = last.Value, Reason = why.Reason, Message = why.Message };
        return new(
            term, instance, new PlacementRecord { Placement = placement }, new ReceiptRecord { Receipt = receipt }, [term.Guard]);
    }

    /// <summary>The best node, reserved; null when nothing fits.</summary>
    private PlacementPlan? Place(LeaderTerm term, RequestClass asked, PlacementRequest request, Epoch last, ClusterView view, bool reserve)
    {
        var ledger = term.Fleet.Ledger;
        var best = asked.Decide(ledger.Fleet, ledger.Classes);
        if (best.First < 0 || ledger.Fleet.NodeAt(best.First) is not { } node)
        {
            return null;
        }

        var now = time.GetUtcNow();
        var receipt = Receipts.Of(ledger.Fleet, asked, best, view.ResourceVersion.Value, now);
        if (reserve)
        {
            ledger.Reserve(request.Instance, StayOf(node.Id, request, asked.Kind), best.First);
        }

        var epoch = Epoch.After(last, view.Incarnation);
        var placement = PlacementOn(node, request, epoch, first: epoch, now);
        placement.Receipt = receipt.ToByteString();
        return Placed(term, request.Instance, node, placement, receipt: null);
    }

    private static PlacementRecord PlacementOn(NodeDescription node, PlacementRequest request, Epoch epoch, Epoch first, DateTimeOffset now) => new()
    {
        Placement = new()
        {
            Node = node.Node.Name,
            NodeUid = node.Id.Value,
            Epoch = epoch.Value,
            PlacedAt = now.ToTimestamp(),
            FirstEpoch = first.Value,
        },
        Reserved = request.ToReserved(),
    };

    /// <summary>Holds while the node's spec is unchanged: neither cordoned nor deregistered since.</summary>
    private static PlacementPlan Placed(LeaderTerm term, InstanceId instance, NodeDescription node, PlacementRecord placement, ReceiptRecord? receipt) =>
        new(term, instance, placement, receipt, [term.Guard, Compare.Modified(Keys.NodeSpec(node.Id), node.Version.Spec)]);

    private static Stay StayOf(NodeId node, PlacementRequest request, InstanceKind kind) =>
        new(node, request.Reserve, kind, request.Ports) { Devices = request.Devices, Priority = request.Priority };

    private static InstanceKind KindOf(FleetLedger ledger, PlacementRequest request) =>
        ledger.Fleet.KindOf(request.Project, request.Labels, request.AntiAffinity);

    private void CatchUp(LeaderTerm term) => term.Fleet.CatchUp(
        state, entry => Evictions.IsParked(entry) ? ReturnOf(entry, state.View) : RequestOf(entry, state.View));

    private PlacementRequest RequestOf(InstanceEntry entry, ClusterView view)
    {
        var spec = entry.Spec;
        return RequestOf(PlacementRequest.Of(entry.Id, entry.Project, entry.Labels, spec, clusterDefault), spec.Source, view);
    }

    private PlacementRequest RequestOf(InstanceId instance, InstanceSpecRecord record, ClusterView view) => RequestOf(
        PlacementRequest.Of(instance, record.Metadata.Project, record.Metadata.Labels, record.Spec, clusterDefault), record.Spec.Source, view);

    private static PlacementRequest RequestOf(PlacementRequest request, CloneSource? from, ClusterView view)
    {
        // Also when it is placed anew: of ephemeral disks nothing is left then, and it begins with copies again.
        return from is { } source
            ? request with { Source = new SourcePlace(view.Instance(new(source.InstanceUid)) is { Deleting: false } held ? held.NodeId : null) }
            : request;
    }

    /// <summary>In words, by the scan of all nodes: thousands that wait for the same are told the same.</summary>
    private PlacementDecision WhyNot(FleetLedger ledger, RequestClass asked, PlacementRequest request, ClusterView view)
    {
        var now = time.GetUtcNow();
        if (asked.Refusal is not { } known
            || (known.Clock != ledger.Fleet.Order.Clock && (ledger.Fleet.NodeCount <= Limits.Control.NodesOfSmallFleet || now - known.At >= Limits.Control.ReasonsKept)))
        {
            var seen = ledger.View(request, view.ResourceVersion);
            asked.Refusal = known = (ledger.Fleet.Order.Clock, now, Scheduler.Decide(request, seen, now));
            known.Decision.Receipt.Remedies.AddRange(RemedyFinder.Find(request, seen));
        }

        return known.Decision;
    }
}
