namespace Hypervisor.Server.State;

/// <summary>The members of groups in the next view, with their tallies.</summary>
internal sealed class MemberIndexBuilder(ClusterView before)
{
    private readonly SortedDictionary<string, OrderedMap<InstanceEntry>.Builder> _changed = new(StringComparer.Ordinal);
    private OrderedMap<GroupTally>.Builder? _tallies;

    public OrderedMap<GroupTally> Tallies => _tallies?.ToMap() ?? before.GroupTallies;

    /// <summary>Uids of groups of which a member changed, came or went.</summary>
    public IReadOnlyCollection<string> ChangedGroups => _changed.Keys;

    public OrderedMap<OrderedMap<InstanceEntry>> Members()
    {
        if (_changed.Count == 0)
        {
            return before.MembersByGroup;
        }

        var groups = before.MembersByGroup.ToBuilder();
        foreach (var (group, builder) in _changed)
        {
            if (builder.ToMap() is { Count: > 0 } members)
            {
                groups.Set(group, members);
            }
            else
            {
                groups.Remove(group);
            }
        }

        return groups.ToMap();
    }

    /// <summary>To be called with every change of an instance. Costs nothing for what belongs to no group.</summary>
    public void Replace(InstanceEntry? old, InstanceEntry? current)
    {
        if (old is { GroupUid: { } left })
        {
            Change(left, old, -1);
            if (current?.GroupUid != left)
            {
                MembersOf(left).Remove(old.Id.Value);
            }
        }

        if (current is { GroupUid: { } group })
        {
            Change(group, current, 1);
            MembersOf(group).Set(current.Id.Value, current);
        }
    }

    private OrderedMap<InstanceEntry>.Builder MembersOf(string group)
    {
        if (!_changed.TryGetValue(group, out var members))
        {
            _changed.Add(group, members = (before.MembersByGroup.Find(group) ?? OrderedMap<InstanceEntry>.Empty).ToBuilder());
        }

        return members;
    }

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
}
