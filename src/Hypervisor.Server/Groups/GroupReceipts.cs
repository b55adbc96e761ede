using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Groups;

/// <summary>Where the members of a group are, and why the others are nowhere: a pure function of a view.</summary>
internal static class GroupReceipts
{
    public static GroupReceipt Of(ClusterView view, GroupEntry group)
    {
        var members = view.MembersOf(group).Where(member => !member.Deleting).ToList();
        var placed = members.Where(member => member.NodeId is not null).ToList();
        var receipt = new GroupReceipt { GroupUid = group.Uid };
        receipt.Places.AddRange(placed.GroupBy(member => member.Node!.Name, StringComparer.Ordinal).OrderBy(on => on.Key, StringComparer.Ordinal)
            .Select(on => PlaceOf(view, on.Key, on.Count())));
        receipt.Waiting.AddRange(Waits(members.Where(member => member.NodeId is null)));
        receipt.Unready.AddRange(Waits(placed.Where(member => !MemberState.IsReady(member))));
        receipt.Message = MessageOf(view, group, members.Count, placed.Count, receipt.Places.Count);
        return receipt;
    }

    private static string MessageOf(ClusterView view, GroupEntry group, int members, int placed, int nodes)
    {
        var tally = view.TallyOf(group);
        var where = placed == 0 ? "none has a node" : $"{placed} on {nodes} node{(nodes == 1 ? "" : "s")}, {tally.Ready} ready";
        var summary = $"{members} of {group.Spec.Count} members: {where}";
        var problem = group.StatusRecord?.Conditions.FirstOrDefault(condition =>
            condition.Type == GroupConditions.Progressing && (condition.Status == ConditionStatus.False || condition.Reason == GroupConditions.GangWaitsForRoom));
        return problem is null ? summary : $"{summary}. {problem.Reason}: {problem.Message}";
    }

    private static GroupPlace PlaceOf(ClusterView view, string node, int members)
    {
        var inventory = view.NodeByName(node)?.Inventory;
        return new() { Node = node, Zone = inventory?.Zone ?? "", Region = inventory?.Region ?? "", Members = members };
    }

    private static IEnumerable<GroupWait> Waits(IEnumerable<InstanceEntry> members) => members
        .GroupBy(member =>
        {
            var (state, reason, message) = InstanceView.Judge(member);
            return (Reason: reason.Length > 0 ? reason : state.ToString(), Message: message);
        })
        .OrderByDescending(alike => alike.Count())
        .ThenBy(alike => alike.Key.Reason, StringComparer.Ordinal)
        .ThenBy(alike => alike.Key.Message, StringComparer.Ordinal)
        .Take(Limits.Groups.Reasons)
        .Select(alike => new GroupWait
        {
            Reason = alike.Key.Reason,
            Message = alike.Key.Message,
            Members = alike.Count(),
            Examples = { alike.Select(member => member.Name).Order(StringComparer.Ordinal).Take(Limits.Groups.Examples) },
        });
}
