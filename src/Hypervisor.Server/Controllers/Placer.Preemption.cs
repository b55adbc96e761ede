using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Scheduling.Preemption;
using Hypervisor.Server.Scheduling.Queues;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>Who has to leave a node for an instance that fits nowhere, and the place that is kept for it there meanwhile.</summary>
internal sealed record Preemption(Claim Claim, string Node, IReadOnlyList<InstanceEntry> Victims);

internal sealed partial class Placer
{
    /// <summary>
    /// Keeps a place on another node for an instance that is to leave its own. False when there is none, or another decision about it is under way.
    /// </summary>
    public bool ClaimElsewhere(LeaderTerm term, InstanceEntry instance)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var (ledger, view) = (term.Fleet.Ledger, state.View);
            if (ledger.Holds(instance.Id) || ledger.ClaimOf(instance.Id) is not null)
            {
                return false;
            }

            var request = RequestOf(instance, view);
            var asked = ledger.Classes.Of(request);
            var best = asked.Decide(ledger.Fleet, ledger.Classes);
            if (best.First < 0 || ledger.Fleet.NodeAt(best.First) is not { } node || node.Id == instance.NodeId)
            {
                return false;
            }

            ledger.Hold(new(
                instance.Id, StayOf(node.Id, request, asked.Kind), time.GetTimestamp(), GraceOf(instance.Spec) + Limits.Control.ClaimPatience));
            return true;
        }
    }

    /// <summary>Those who have to leave were told so, at this revision of the store.</summary>
    public static void Asked(LeaderTerm term, InstanceId instance, long revision)
    {
        lock (term.Fleet.Gate)
        {
            if (term.Fleet.Ledger.ClaimOf(instance) is { } claim)
            {
                claim.AskedAt = revision;
            }
        }
    }

    /// <summary>They were not told.</summary>
    public static void Unclaim(LeaderTerm term, InstanceId instance)
    {
        lock (term.Fleet.Gate)
        {
            term.Fleet.Ledger.Unclaim(instance);
        }
    }

    /// <summary>Places that did not become free in time are nobody's any more, and who waited for them is decided about anew.</summary>
    public void GiveUpClaims(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            var (ledger, queue) = (term.Fleet.Ledger, term.Fleet.Queue);
            foreach (var claim in ledger.Claims.Where(claim => time.GetElapsedTime(claim.Since) > claim.Patience).ToList())
            {
                ledger.Unclaim(claim.Instance);
                if (queue.Find(claim.Instance) is { } item)
                {
                    queue.PutBack(item, told: false);
                }
            }
        }
    }

    /// <summary>Takes who waits for a place that is free now; null when nobody does.</summary>
    private static QueuedInstance? Claimant(LeaderTerm term)
    {
        var (ledger, queue) = (term.Fleet.Ledger, term.Fleet.Queue);
        if (ledger.Claims.Count == 0)
        {
            return null;
        }

        foreach (var claim in ledger.Claims)
        {
            if (claim.AskedAt <= ledger.Revision && queue.Find(claim.Instance) is { } item && ledger.IsFree(claim))
            {
                // Who asked for the same and slept, since there was nobody left to make room, may find somebody now.
                queue.Wake(item.Group);
                queue.TakeOut(item);
                return item;
            }
        }

        return null;
    }

    /// <summary>
    /// The cheapest set of instances of lower priority that could make room, on one of some nodes that are looked at; what leaves anyway counts as
    /// gone. Keeps the place, so that it is nobody else's hole. Null when there is none.
    /// </summary>
    private Preemption? Preempt(LeaderTerm term, RequestClass asked, PlacementRequest request, ClusterView view)
    {
        var (ledger, fleet) = (term.Fleet.Ledger, term.Fleet.Ledger.Fleet);
        if (request.Priority <= fleet.LowestPriority || ledger.Claims.Count >= Limits.Control.Claims)
        {
            return null;
        }

        (NodeId Node, string Name, IReadOnlyList<Victim> Victims)? best = null;
        var leaving = ledger.Claims.SelectMany(claim => claim.Leaving).ToHashSet(StringComparer.Ordinal);
        var looked = 0;
        for (var step = 0; step < fleet.RowCount && looked < Limits.Control.PreemptionNodes; step++)
        {
            var row = (term.Fleet.Cursor + step) % fleet.RowCount;
            if (fleet.NodeAt(row) is not { Node: var node } || !asked.TakesButForRoom(row) || view.Node(node.Id) is not { } entry)
            {
                continue;
            }

            looked++;
            if (VictimsOn(fleet, row, entry, request, view, leaving) is { } victims
                && (best is not { } known || Victims.Compare(victims, known.Victims) is var order && (order < 0 || (order == 0 && string.CompareOrdinal(node.Name, known.Name) < 0))))
            {
                best = (node.Id, node.Name, victims);
            }
        }

        // Of a large fleet the next one looks at others.
        term.Fleet.Cursor = fleet.RowCount > Limits.Control.PreemptionNodes ? (term.Fleet.Cursor + Limits.Control.PreemptionNodes) % fleet.RowCount : 0;
        if (best is not { } cheapest)
        {
            return null;
        }

        var grace = cheapest.Victims.Select(victim => victim.Grace).DefaultIfEmpty().Max();
        var claim = new Claim(
            request.Instance, StayOf(cheapest.Node, request, asked.Kind), time.GetTimestamp(), grace + Limits.Control.ClaimPatience, [.. cheapest.Victims.Select(victim => victim.Uid)]);
        ledger.Hold(claim);
        return new(claim, cheapest.Name, [.. cheapest.Victims.Select(victim => view.Instance(new(victim.Uid))!)]);
    }

    private static IReadOnlyList<Victim>? VictimsOn(
        Fleet fleet, int row, NodeEntry node, PlacementRequest request, ClusterView view, HashSet<string> leaving)
    {
        ref var at = ref fleet.Row(row);
        var free = new ResourceAmount(at.FreeCpu, at.FreeMemory, at.FreeDisk);
        var taken = fleet.PortsAt(row).ToList();
        var candidates = new List<Victim>();
        var chosen = leaving.Select(uid => new InstanceId(uid)).ToHashSet();
        foreach (var instance in view.InstancesOn(node))
        {
            var spec = instance.Spec;
            var amount = ResourceAmount.Of(instance.PlacementRecord!.Reserved);
            IReadOnlyList<PortClaim> ports = spec.Network is { Ports.Count: > 0 } network ? [.. network.Ports.Select(PortClaim.Of)] : [];
            if (instance.Deleting || instance.IsEvicted || leaving.Contains(instance.Id.Value))
            {
                free += amount;
                foreach (var port in ports)
                {
                    taken.Remove(port);
                }
            }
            else if (instance.Priority < request.Priority && Evictions.CanMove(instance)
                && DisruptionBudgets.MayDisturb(view, instance, chosen))
            {
                // So that the set as a whole keeps within the budget of each group, whoever of it is chosen.
                chosen.Add(instance.Id);
                candidates.Add(new(instance.Id.Value, instance.Priority, amount, ports, GraceOf(spec)));
            }
        }

        return Victims.Choose(request.Reserve - free, [.. taken.Where(claim => request.Ports.Any(claim.ConflictsWith))], candidates);
    }

    private static TimeSpan GraceOf(InstanceSpec spec) => spec.Stop?.GracePeriod?.ToTimeSpan() ?? TimeSpan.Zero;
}
