using Hypervisor.Protocol;
using Hypervisor.Server.Controllers.Groups;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Controllers;

/// <summary>What was decided about the members that a gang is missing: about all of them at once.</summary>
internal abstract record GangDecision
{
    private GangDecision()
    {
    }

    /// <summary>Others stand in line before it.</summary>
    internal sealed record NotItsTurn : GangDecision;

    /// <summary>Each has a node, and its place there is reserved.</summary>
    /// <param name="Plans">In the order of the members.</param>
    internal sealed record Placed(IReadOnlyList<PlacementPlan> Plans) : GangDecision;

    /// <summary>A place is kept for each; those of some become free once others have left.</summary>
    /// <param name="Rooms">For each of those; nobody is told yet.</param>
    internal sealed record MakesRoom(IReadOnlyList<Preemption> Rooms) : GangDecision;

    /// <summary>Those who make room for it have not left yet.</summary>
    internal sealed record RoomIsMade : GangDecision;

    /// <summary>Nothing is kept, and nobody has to leave.</summary>
    /// <param name="Found">So many find a place.</param>
    /// <param name="Why">The next one finds none.</param>
    internal sealed record DoesNotFit(int Found, string Why) : GangDecision;
}

internal sealed partial class Placer
{
    /// <summary>
    /// Each member gets a node, or a place that others are to leave, or none gets anything: one decision under one lock. It is the gang's turn unless
    /// somebody who is awake in the queue comes before it, or when the places that are kept for it are free.
    /// </summary>
    /// <param name="record">Of one of the members, which differ in nothing but whose they are.</param>
    public GangDecision PlanGang(LeaderTerm term, PendingGang gang, InstanceSpecRecord record)
    {
        lock (term.Fleet.Gate)
        {
            CatchUp(term);
            var (ledger, queue, view) = (term.Fleet.Ledger, term.Fleet.Queue, state.View);
            queue.Wake();
            var request = RequestOf(gang.Members[0], record, view);
            var claims = gang.Members.Select(ledger.ClaimOf).OfType<Claim>().ToList();
            if (claims.Count == gang.Members.Count)
            {
                if (!TakeRoom(term, claims))
                {
                    return new GangDecision.RoomIsMade();
                }
            }
            else
            {
                // Some were given up, to somebody more important or since they did not become free in time: all is decided anew.
                Unclaim(ledger, gang.Members);
                if (queue.ComesBefore(request.Priority, gang.Asked))
                {
                    return new GangDecision.NotItsTurn();
                }
            }

            var decision = DecideAll(term, gang.Members, request, view);

            // Nobody has to leave where all that is in the way is kept for lesser ones.
            return decision is GangDecision.MakesRoom { Rooms: var rooms } && rooms.All(room => room.Victims.Count == 0)
                && TakeRoom(term, [.. gang.Members.Select(id => ledger.ClaimOf(id)!)])
                ? DecideAll(term, gang.Members, request, view)
                : decision;
        }
    }

    /// <summary>No place is kept for these any more.</summary>
    public static void Unclaim(LeaderTerm term, IReadOnlyList<InstanceId> members)
    {
        lock (term.Fleet.Gate)
        {
            Unclaim(term.Fleet.Ledger, members);
        }
    }

    private static void Unclaim(FleetLedger ledger, IReadOnlyList<InstanceId> members)
    {
        foreach (var id in members)
        {
            ledger.Unclaim(id);
        }
    }

    /// <summary>When all these places are free, or would be but for those of lower priority, they are nobody's, for their gang to be placed; false else.</summary>
    private static bool TakeRoom(LeaderTerm term, List<Claim> claims)
    {
        var (ledger, queue) = (term.Fleet.Ledger, term.Fleet.Queue);
        var lesser = new HashSet<Claim>();
        foreach (var claim in claims)
        {
            if ((ledger.IsFree(claim) ? [] : ledger.Lesser(claim)) is not { } others)
            {
                return false;
            }

            lesser.UnionWith(others);
        }

        foreach (var other in lesser)
        {
            GiveUp(other, ledger, queue);
        }

        Unclaim(ledger, [.. claims.Select(claim => claim.Instance)]);
        return true;
    }

    private GangDecision DecideAll(LeaderTerm term, IReadOnlyList<InstanceId> members, PlacementRequest request, ClusterView view)
    {
        var ledger = term.Fleet.Ledger;
        var asked = ledger.Classes.Of(request);
        var search = SearchRoom(term, asked, request, view, members.Count);
        var (plans, rooms, victims) = (new List<PlacementPlan>(members.Count), new List<Preemption>(), 0);
        foreach (var id in members)
        {
            var member = request with { Instance = id };
            if (Place(term, asked, member, Epoch.None, view, reserve: true) is { } plan)
            {
                plans.Add(plan);
                continue;
            }

            var room = search is null ? null : MakeRoom(ledger, search, asked, member, view);
            victims += room?.Victims.Count ?? 0;
            if (room is null || victims > Limits.Groups.GangVictims)
            {
                var why = room is null
                    ? WhyNot(ledger, asked, member, view).Message
                    : $"more than {Limits.Groups.GangVictims} instances of a lower priority would have to leave.";
                plans.ForEach(placed => ledger.Release(placed.Instance));
                Unclaim(ledger, members);
                return new GangDecision.DoesNotFit(plans.Count + rooms.Count, why);
            }

            rooms.Add(room);
        }

        if (search is not null)
        {
            Searched(term, search);
        }

        if (rooms.Count == 0)
        {
            return new GangDecision.Placed(plans);
        }

        // All wait for the last who leaves.
        var patience = rooms.Max(room => room.Claim.Patience);
        rooms.ForEach(room => room.Claim.Patience = patience);
        foreach (var plan in plans)
        {
            ledger.Release(plan.Instance);
            var node = new NodeId(plan.Placement.Placement.NodeUid);
            ledger.Hold(new(plan.Instance, StayOf(node, request, asked.Kind), time.GetTimestamp(), patience));
        }

        return new GangDecision.MakesRoom(rooms);
    }
}
