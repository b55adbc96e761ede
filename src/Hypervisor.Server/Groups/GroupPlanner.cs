using Hypervisor.Protocol;

namespace Hypervisor.Server.Groups;

/// <summary>What is to be done for a group now.</summary>
/// <param name="Create">How many members, of the wanted template.</param>
/// <param name="Delete">Which ones.</param>
/// <param name="Outdated">How many present members have another template.</param>
internal sealed record GroupPlan(int Create, IReadOnlyList<InstanceId> Delete, int Outdated)
{
    public bool Idle => Create == 0 && Delete.Count == 0;
}

/// <summary>
/// The rules of groups, as a pure function of what there is. It knows nothing of what was planned before: the same members lead to the same plan,
/// so that whoever leads next goes on where the one before stopped.
/// </summary>
/// <remarks>
/// There are never more than count and surge present members because of a plan, and it deletes no available member whose going would leave fewer
/// than count less max_unavailable. An update goes on with each new member that becomes available, and so stands still when none does.
/// </remarks>
internal static class GroupPlanner
{
    public static GroupPlan Decide(GroupTargets targets, IReadOnlyList<Member> members)
    {
        var delete = members.Where(member => member.Phase == MemberPhase.Ended).ToList();
        var updated = members.Where(member => member.Present && member.Revision == targets.Revision).ToList();
        var outdated = members.Where(member => member.Present && member.Revision != targets.Revision).ToList();
        var present = updated.Count + outdated.Count;
        var available = members.Count(member => member.Phase == MemberPhase.Available);

        if (updated.Count > targets.Count)
        {
            delete.AddRange(Removable(updated).Take(updated.Count - targets.Count));
        }

        if (outdated.Count > 0)
        {
            delete.AddRange(Replaced(targets, outdated, updated.Count(member => member.Phase == MemberPhase.Available), available));
        }

        if (available >= targets.Count)
        {
            // Their places are taken: when their node comes back, they are too many.
            delete.AddRange(members.Where(member => member.Phase == MemberPhase.Lost));
        }

        var room = targets.Count + (outdated.Count > 0 ? targets.Surge : 0) - present;
        var create = Math.Clamp(targets.Count - updated.Count, 0, Math.Max(room, 0));
        return new(create, [.. delete.Select(member => member.Id)], outdated.Count);
    }

    /// <summary>
    /// Those of an earlier template that may go now. The ones that are not available go first; but new ones have to make up for them as well, for
    /// what is unavailable for a moment is worth more than something that may never run.
    /// </summary>
    private static IEnumerable<Member> Replaced(GroupTargets targets, List<Member> outdated, int newAvailable, int available)
    {
        var most = outdated.Count + newAvailable - targets.MinAvailable;
        if (most <= 0)
        {
            return [];
        }

        outdated = Removable(outdated);
        var unavailable = outdated.Where(member => member.Phase != MemberPhase.Available).Take(most).ToList();
        var spare = Math.Min(most - unavailable.Count, Math.Max(0, available - targets.MinAvailable));
        return unavailable.Concat(outdated.Where(member => member.Phase == MemberPhase.Available).Take(spare));
    }

    /// <summary>
    /// In the order in which they go: the ones that do least first, then those that have most others on their node, so that what was spread stays
    /// spread, then the youngest.
    /// </summary>
    private static List<Member> Removable(List<Member> members)
    {
        var perNode = members.CountBy(member => member.Node, StringComparer.Ordinal).ToDictionary(StringComparer.Ordinal);
        return
        [
            .. members.Select(member => (Member: member, Others: perNode[member.Node]--))
                .OrderBy(entry => entry.Member.Phase)
                .ThenByDescending(entry => entry.Others)
                .ThenByDescending(entry => entry.Member.CreatedAt)
                .ThenBy(entry => entry.Member.Id.Value, StringComparer.Ordinal)
                .Select(entry => entry.Member),
        ];
    }
}
