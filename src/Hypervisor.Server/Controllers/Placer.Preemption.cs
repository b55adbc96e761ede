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
    /// <summary>Keeps a place on another node for an instance that is to leave its own.</summary>
    /// <param name="strategy">By which it is chosen; unspecified means the instance's own.</param>
    /// <returns>The node's name; null when none is better than its own, another decision about it is under way, or too many of its group are disturbed.</returns>
    public string? ClaimElsewhere(LeaderTerm term, InstanceEntry instance, PlacementStrategy strategy = PlacementStrategy.Unspecified)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var (ledger, view) = (term.Fleet.Ledger, state.View);
            if (ledger.Holds(instance.Id) || ledger.ClaimOf(instance.Id) is not null || IsDisturbingTooMany(ledger, instance, view))
            {
                return null;
            }

            var request = By(strategy, RequestOf(instance, view));
            var asked = ledger.Classes.Of(request);

            // As if it were nowhere: it is no neighbour of its own.
            var best = ledger.Fleet.Without(instance.Id, () => asked.Decide(ledger.Fleet, ledger.Classes).First);
            if (best < 0 || ledger.Fleet.NodeAt(best) is not { } node || node.Id == instance.NodeId)
            {
                return null;
            }

            ledger.Hold(new(instance.Id, StayOf(node.Id, request, asked.Kind), time.GetTimestamp(), GraceOf(instance.Spec) + Limits.Control.ClaimPatience, instance.Id.Value));
            return node.Node.Name;
        }
    }

    /// <summary>Also with those whose eviction is on its way into the store, of whom no view knows.</summary>
    private static bool IsDisturbingTooMany(FleetLedger ledger, InstanceEntry instance, ClusterView view) =>
        !instance.IsEvicted && instance.GroupUid is not null
        && !DisruptionBudgets.MayDisturb(view, instance, ledger.Leaving.Select(uid => new InstanceId(uid)).ToHashSet());

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

    /// <summary>Places that did not become free in time.</summary>
    public void GiveUpClaims(LeaderTerm term)
    {
        lock (term.Fleet.Gate)
        {
            var (ledger, queue) = (term.Fleet.Ledger, term.Fleet.Queue);
            foreach (var claim in ledger.Claims.Where(claim => time.GetElapsedTime(claim.Since) > claim.Patience).ToList())
            {
                GiveUp(claim, ledger, queue);
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
            if (claim.AskedAt <= ledger.Revision && queue.Find(claim.Instance) is { } item
                && (ledger.IsFree(claim) ? [] : ledger.Lesser(claim)) is { } lesser)
            {
                foreach (var other in lesser)
                {
                    GiveUp(other, ledger, queue);
                }

                // Who asked for the same and slept, since there was nobody left to make room, may find somebody now.
                queue.Wake(item.Group);
                queue.TakeOut(item);
                return item;
            }
        }

        return null;
    }

    /// <summary>The place is nobody's any more, and who waited for it is decided about anew.</summary>
    private static void GiveUp(Claim claim, FleetLedger ledger, PlacementQueue queue)
    {
        ledger.Unclaim(claim.Instance);
        if (queue.Find(claim.Instance) is { } item)
        {
            // Another one that asks for the same may sleep meanwhile.
            queue.PutBack(item, told: false);
            queue.Wake(item.Group);
        }
    }

    /// <summary>Who has to leave for one that fits nowhere, and the place that is kept for it; null when nobody can make room.</summary>
    private Preemption? Preempt(LeaderTerm term, RequestClass asked, PlacementRequest request, ClusterView view)
    {
        if (SearchRoom(term, asked, request, view, members: 1) is not { } search)
        {
            return null;
        }

        var found = MakeRoom(term.Fleet.Ledger, search, asked, request, view);
        Searched(term, search);
        return found;
    }

    /// <summary>For so many that ask for the same; null when nobody is there who could make room for them, or no more places are kept.</summary>
    private static RoomSearch? SearchRoom(LeaderTerm term, RequestClass asked, PlacementRequest request, ClusterView view, int members)
    {
        var ledger = term.Fleet.Ledger;
        return request.Priority <= ledger.Fleet.Cheapest.Priority || ledger.Claims.Count + members > Limits.Control.Claims
            ? null

            // Each of them may use up what a node has to give.
            : new(ledger, asked, request, view, term.Fleet.Cursor, Limits.Control.PreemptionNodes + members - 1);
    }

    /// <summary>Of a large fleet the next search looks at other nodes.</summary>
    private static void Searched(LeaderTerm term, RoomSearch search) =>
        term.Fleet.Cursor = term.Fleet.Ledger.Fleet.RowCount > Limits.Control.PreemptionNodes ? search.Next : 0;

    /// <summary>
    /// The cheapest set of instances of lower priority that could make room, on one of some nodes that are looked at; what leaves anyway counts as
    /// gone. Keeps the place, so that it is nobody else's hole. Null when there is none.
    /// </summary>
    private Preemption? MakeRoom(FleetLedger ledger, RoomSearch search, RequestClass asked, PlacementRequest request, ClusterView view)
    {
        if (search.Best() is not { } found)
        {
            return null;
        }

        var (place, grace) = (ledger.Fleet.NodeAt(found.Row)!, found.Victims.Select(victim => victim.Grace).DefaultIfEmpty().Max());
        var claim = new Claim(
            request.Instance, StayOf(place.Id, request, asked.Kind), time.GetTimestamp(), grace + Limits.Control.ClaimPatience, [.. found.Victims.Select(victim => victim.Uid)]);
        ledger.Hold(claim);
        return new(claim, place.Node.Name, [.. found.Victims.Select(victim => view.Instance(new(victim.Uid))!)]);
    }

    private static PlacementRequest By(PlacementStrategy strategy, PlacementRequest request) =>
        strategy == PlacementStrategy.Unspecified ? request : request with { Strategy = strategy };

    private static TimeSpan GraceOf(InstanceSpec spec) => spec.Stop?.GracePeriod?.ToTimeSpan() ?? TimeSpan.Zero;
}
