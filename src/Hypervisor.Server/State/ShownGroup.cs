namespace Hypervisor.Server.State;

/// <summary>A group and the numbers of its members as of one revision: all that is shown of it.</summary>
internal sealed record ShownGroup(GroupEntry Group, GroupTally Tally)
{
    /// <summary>In ordinal order of the uids.</summary>
    /// <param name="groups">Whose own records changed.</param>
    /// <param name="counted">Uids of those whose members did.</param>
    public static IReadOnlyList<EntryChange<ShownGroup>> Changes(
        ClusterView before, ClusterView after, IReadOnlyList<EntryChange<GroupEntry>> groups, IReadOnlyCollection<string> counted)
    {
        if (groups.Count == 0 && counted.Count == 0)
        {
            return [];
        }

        var uids = new SortedSet<string>(counted, StringComparer.Ordinal);
        uids.UnionWith(groups.Select(change => (change.New ?? change.Old)!.Uid));
        var changes = new List<EntryChange<ShownGroup>>();
        foreach (var uid in uids)
        {
            var (old, current) = (Find(before, uid), Find(after, uid));
            if (old?.IsShownAs(current) != true && (old is not null || current is not null))
            {
                changes.Add(new(old, current));
            }
        }

        return changes;
    }

    private static ShownGroup? Find(ClusterView view, string uid) => view.Group(uid) is { } group ? new(group, view.TallyOf(group)) : null;

    /// <summary>Most changes of members change no number.</summary>
    private bool IsShownAs(ShownGroup? other) =>
        other is not null && ReferenceEquals(Group, other.Group)
        && (Tally.Current, Tally.Ready, Tally.Deleting) == (other.Tally.Current, other.Tally.Ready, other.Tally.Deleting)
        && Tally.ByRevision.SequenceEqual(other.Tally.ByRevision);
}
