using System.Collections.Frozen;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

internal sealed partial class Placer
{
    /// <summary>
    /// What one that made room where it is has to find there to go on: what it gave up. It is on its node already: neither its neighbours nor what was said
    /// of the node since matter.
    /// </summary>
    private PlacementRequest ReturnOf(InstanceEntry instance, ClusterView view)
    {
        var (full, held) = (RequestOf(instance, view), instance.PlacementRecord!.Reserved);
        return full with
        {
            Reserve = full.Reserve.Beyond(ResourceAmount.Of(held)),
            Devices = full.Devices.Beyond(DeviceAmounts.Of(held)),
            Region = "",
            Zone = "",
            NodeSelector = FrozenDictionary<string, string>.Empty,
            Ports = [],
            Preferred = PreferredPlace.None,
            Affinity = [],
            AntiAffinity = [],
            Spread = [],
            Tolerations = [new Toleration()],
            Source = new SourcePlace(instance.NodeId),
        };
    }

    /// <summary>It holds all that it held again, under the same epoch, and goes on; null while there is no room.</summary>
    private QueuedPlan? PlanReturn(LeaderTerm term, QueuedInstance item, ClusterView view)
    {
        var (ledger, entry) = (term.Fleet.Ledger, item.Entry);
        var row = ledger.Fleet.Find(entry.NodeId!.Value);

        // Its own node alone is asked, and as a node that takes everybody: its own stay, which is still there, would keep away its like.
        if (row < 0
            || Scheduler.Decide(
                item.Group.Request, new(view.ResourceVersion, [ledger.Fleet.CandidateAt(row)! with { Scheduling = NodeScheduling.Schedulable, Taints = [] }]), time.GetUtcNow())
            is { Node: null })
        {
            return null;
        }

        var full = RequestOf(entry, view);
        ledger.Reserve(entry.Id, StayOf(entry.NodeId!.Value, full, KindOf(ledger, full)));
        var placement = entry.PlacementRecord!;
        var eviction = placement.Placement.Eviction;
        placement.Placement.Eviction = null;
        placement.Reserved = full.ToReserved();
        return new(item, entry, new PlacementPlan(term, entry.Id, placement, null, [term.Guard])
        {
            Spec = eviction is { Suspends: false, Restarts: true } ? StartedAgain(entry) : null,
        });
    }

    /// <summary>Its node takes it for one that ended by itself, and its restart policy may say that such a one stays as it is.</summary>
    private static InstanceSpecRecord? StartedAgain(InstanceEntry entry)
    {
        var record = entry.SpecRecord;
        if (record.Spec.DesiredState != DesiredState.Running)
        {
            return null;
        }

        record.Spec.RestartGeneration++;
        record.Metadata.Generation++;
        return record;
    }
}
