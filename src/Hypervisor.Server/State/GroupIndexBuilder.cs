using Hypervisor.Protocol;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>The records of one group while the changes of a revision are collected.</summary>
internal sealed class GroupParts
{
    public Part<GroupRecord> Spec { get; set; }

    public Part<GroupStatusRecord> Status { get; set; }

    public static GroupParts Of(GroupEntry? entry) => entry is null
        ? new()
        : new() { Spec = new(entry.Record, entry.SpecRevision), Status = new(entry.StatusRecord, entry.StatusRevision) };
}

/// <summary>The groups of the next view. A status without a group is nothing: it is written and deleted with its group.</summary>
internal sealed class GroupIndexBuilder(ClusterView before)
{
    private readonly SortedDictionary<string, GroupParts> _changed = new(StringComparer.Ordinal);

    public GroupParts Group(string uid)
    {
        if (!_changed.TryGetValue(uid, out var parts))
        {
            _changed.Add(uid, parts = GroupParts.Of(before.GroupsByUid.Find(uid)));
        }

        return parts;
    }

    public (OrderedMap<GroupEntry> ByUid, OrderedMap<GroupEntry> ByName, IReadOnlyList<EntryChange<GroupEntry>> Changes) Build(Incarnation incarnation)
    {
        if (_changed.Count == 0)
        {
            return (before.GroupsByUid, before.GroupsByName, []);
        }

        var (byUid, byName) = (before.GroupsByUid.ToBuilder(), before.GroupsByName.ToBuilder());
        var changes = new List<EntryChange<GroupEntry>>(_changed.Count);
        foreach (var (uid, parts) in _changed)
        {
            var old = byUid.Find(uid);
            var entry = EntryOf(uid, parts, incarnation);
            if (old is not null)
            {
                byUid.Remove(uid);
                byName.Remove(old.ListKey);
            }

            if (entry is not null)
            {
                byUid.Set(uid, entry);
                byName.Set(entry.ListKey, entry);
            }

            if (old is not null || entry is not null)
            {
                changes.Add(new(old, entry));
            }
        }

        return (byUid.ToMap(), byName.ToMap(), changes);
    }

    private static GroupEntry? EntryOf(string uid, GroupParts parts, Incarnation incarnation) => parts.Spec.Record is { } record
        ? new(
            uid, record, parts.Spec.Revision, parts.Status.Record, parts.Status.Record is null ? 0 : parts.Status.Revision,
            ResourceVersion.Of(incarnation, Math.Max(parts.Spec.Revision, parts.Status.Revision)))
        : null;
}
