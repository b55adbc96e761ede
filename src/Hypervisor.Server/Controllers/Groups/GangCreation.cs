using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers.Groups;

/// <summary>Makes the members that gangs are missing: all of one gang, or none. Others of a lower priority make room for all of it, or nobody does.</summary>
internal sealed partial class GangCreation(
    MemberCreation members, Placer placer, StoreWriter writer, IRandomSource random, TimeProvider time, ILogger<GangCreation> logger)
{
    /// <summary>
    /// Decided and reserved in one step; what takes several transactions is made in several, after <paramref name="begin"/>. While others make room for
    /// it nothing is made, and its places are kept.
    /// </summary>
    /// <param name="begin">Told when the gang was decided, before the first of several transactions; false gives it up.</param>
    public async Task<MembersMade> CreateAsync(
        LeaderTerm term, ClusterView view, GroupEntry group, int count, Func<DateTimeOffset, Task<bool>> begin, CancellationToken cancellationToken)
    {
        var (gang, now) = (Pending(term, group, count), time.GetUtcNow());
        if (gang.RefusedAt is { } refusedAt && Limits.Groups.GangPause - time.GetElapsedTime(refusedAt) is var left && left > TimeSpan.Zero)
        {
            return new(0, Stop: gang.Stop, Again: left);
        }

        var drafts = members.Drafts(view, group, gang.Members, now);
        switch (placer.PlanGang(term, gang, drafts[0].Record))
        {
            case GangDecision.Placed { Plans: var plans }:
                // What becomes of these ids may be unknown for a while: another attempt has others.
                term.Gangs.Set(group, gang with { Members = [], Stop = null });
                return await MakeAsync(term, group, [.. drafts.Zip(plans, (draft, plan) => draft with { Proposal = plan })], () => begin(now), cancellationToken);
            case GangDecision.MakesRoom { Rooms: var rooms }:
                return await EvictAsync(term, group, gang, rooms, cancellationToken);
            case GangDecision.DoesNotFit { Found: var found, Why: var why }:
                gang.RefusedAt = time.GetTimestamp();
                gang.Stop = new(GroupConditions.GangDoesNotFit, $"Of {count} members that need a node at once {found} find one; the next: {why}");
                return new(0, Stop: gang.Stop);
            case GangDecision.NotItsTurn:
                // Nothing new is said of one before which others stand in line.
                return new(0, Stop: gang.Stop, Again: Limits.Groups.GangPause);
            default:
                return new(0, Stop: gang.Stop);
        }
    }

    /// <summary>The group is missing no members, or is a gang no more: nothing is kept for it.</summary>
    public static void Forget(LeaderTerm term, string group)
    {
        if (term.Gangs.Forget(group) is { } gang)
        {
            Placer.Unclaim(term, gang.Members);
        }
    }

    /// <summary>The same as in the last look, if as many are missing of the same group.</summary>
    private PendingGang Pending(LeaderTerm term, GroupEntry group, int count)
    {
        var known = term.Gangs.Find(group.Uid);
        if (known is not null && known.SpecRevision == group.SpecRevision && known.Members.Count == count)
        {
            return known;
        }

        Placer.Unclaim(term, known?.Members ?? []);
        var ids = Enumerable.Range(0, count).Select(_ => new InstanceId(random.NewOrderedUid(time.GetUtcNow())));
        var gang = new PendingGang(group.SpecRevision, [.. ids], known?.Asked ?? time.GetUtcNow());
        term.Gangs.Set(group, gang);
        return gang;
    }

    private async Task<MembersMade> MakeAsync(
        LeaderTerm term, GroupEntry group, List<InstanceBirth> births, Func<Task<bool>> begin, CancellationToken cancellationToken)
    {
        var begun = false;
        try
        {
            begun = births.Count <= MemberCreation.PerWrite(group) || await begin();
        }
        finally
        {
            if (!begun)
            {
                births.ForEach(birth => birth.Proposal?.Settle(PlacementOutcome.Refused, 0));
            }
        }

        return begun ? await members.WriteAsync(group, births, term, cancellationToken) : new(0, Refused: true);
    }

    /// <summary>
    /// Tells all who have to leave. Where they are more than a transaction takes and one of several is lost, those who were told before leave
    /// nevertheless; the next look counts on what they leave behind.
    /// </summary>
    private async Task<MembersMade> EvictAsync(
        LeaderTerm term, GroupEntry group, PendingGang gang, IReadOnlyList<Preemption> rooms, CancellationToken cancellationToken)
    {
        var eviction = new Eviction
        {
            Reason = Evictions.Preempted,
            Message = $"Makes room for the gang '{group.Name}' of project '{group.Project}', whose priority is higher.",
            ForUid = group.Uid,
        };
        Compare[] guards = [term.Guard, Compare.Modified(Keys.GroupSpec(group.Uid), group.SpecRevision)];
        var (revision, told, victims) = (0L, false, rooms.SelectMany(room => room.Victims).ToList());
        try
        {
            foreach (var part in victims.Chunk(Limits.Control.Victims))
            {
                var result = await writer.WriteAsync(Evictions.Begin(part, eviction, time.GetUtcNow(), guards), cancellationToken);
                revision = result.Revision;
                if (!result.Succeeded)
                {
                    return new(revision, Refused: true);
                }
            }

            told = true;
        }
        finally
        {
            if (!told)
            {
                Placer.Unclaim(term, gang.Members);
            }
        }

        var nodes = NodesOf(rooms);
        LogPreempts(logger, group.Project, group.Name, victims.Count, nodes);
        gang.Stop = new(
            GroupConditions.GangWaitsForRoom,
            $"{Evictions.Leave(victims.Count)} {nodes} to make room for {gang.Members.Count} member{(gang.Members.Count == 1 ? "" : "s that need a node at once")}.",
            GetsOn: true);
        return new(revision, Stop: gang.Stop);
    }

    private static string NodesOf(IReadOnlyList<Preemption> rooms)
    {
        var names = rooms.Select(room => $"'{room.Node}'").Distinct().Order(StringComparer.Ordinal).ToList();
        var named = string.Join(", ", names.Take(Limits.Groups.NodesNamed));
        return names.Count switch
        {
            1 => $"node {named}",
            > Limits.Groups.NodesNamed => $"nodes {named} and {names.Count - Limits.Groups.NodesNamed} more",
            _ => $"nodes {named}",
        };
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Gang {Project}/{Group} has {Count} instances of lower priority leave {Nodes}")]
    private static partial void LogPreempts(ILogger logger, string project, string group, int count, string nodes);
}
