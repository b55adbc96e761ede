namespace Hypervisor.Server.State;

/// <summary>The members of groups in the next view, with their tallies.</summary>
internal sealed class MemberIndexBuilder(ClusterView before)
{
    private OrderedMap<InstanceEntry>.Builder? _members;
    private OrderedMap<GroupTally>.Builder? _tallies;

    public OrderedMap<InstanceEntry> Members => _members?.ToMap() ?? before.MembersByGroup;

    public OrderedMap<GroupTally> Tallies => _tallies?.ToMap() ?? before.GroupTallies;

    /// <summary>To be called with every change of an instance. Costs nothing for what belongs to no group.</summary>
    public void Replace(InstanceEntry? old, InstanceEntry? current)
    {
        if (old is not null && MemberState.GroupOf(old) is { } left)
        {
            Change(left, old, -1);
            if (current is null || MemberState.GroupOf(current) != left)
            {
                Map.Remove(KeyOf(left, old));
            }
        }

        if (current is not null && MemberState.GroupOf(current) is { } group)
        {
            Change(group, current, 1);
            Map.Set(KeyOf(group, current), current);
        }
    }

    private OrderedMap<InstanceEntry>.Builder Map => _members ??= before.MembersByGroup.ToBuilder();

    private void Change(string group, InstanceEntry member, int sign)
    {
        _tallies ??= before.GroupTallies.ToBuilder();
        var tally = (_tallies.Find(group) ?? GroupTally.None).With(member, sign);
        if (tally is { Current: 0, Deleting: 0 })
        {
            _tallies.Remove(group);
        }
        else
        {
            _tallies.Set(group, tally);
        }
    }

    private static string KeyOf(string group, InstanceEntry member) => $"{group}/{member.Id.Value}";
}
