using Hypervisor.Protocol;

namespace Hypervisor.Server.State;

/// <summary>The instances of the next view.</summary>
internal sealed class InstanceIndexBuilder(
    ClusterView before,
    Incarnation incarnation,
    long revision,
    NodeIndexBuilder nodes,
    OrphanedParts orphans)
{
    private readonly OrderedMap<InstanceEntry>.Builder _byUid = before.InstancesByUid.ToBuilder();
    private readonly OrderedMap<InstanceEntry>.Builder _byName = before.InstancesByName.ToBuilder();
    private readonly OrderedMap<InstanceEntry>.Builder _unplaced = before.UnplacedByUid.ToBuilder();
    private readonly MemberIndexBuilder _members = new(before);
    private readonly SortedDictionary<string, InstanceEntry?> _oldOfChanged = new(StringComparer.Ordinal);

    public OrderedMap<InstanceEntry> ByUid => _byUid.ToMap();

    public OrderedMap<InstanceEntry> ByName => _byName.ToMap();

    public OrderedMap<InstanceEntry> Unplaced => _unplaced.ToMap();

    public OrderedMap<OrderedMap<InstanceEntry>> MembersByGroup => _members.Members();

    public OrderedMap<GroupTally> GroupTallies => _members.Tallies;

    /// <summary>Uids of groups of which a member changed, came or went.</summary>
    public IReadOnlyCollection<string> GroupsWithChangedMembers => _members.ChangedGroups;

    public void Apply(string uid, InstanceParts parts)
    {
        var old = _byUid.Find(uid);
        Remember(uid, parts);
        if (!parts.Spec.Packed.Exists)
        {
            if (old is not null)
            {
                _oldOfChanged.TryAdd(uid, old);
                _byUid.Remove(uid);
                _byName.Remove(old.ListKey);
                _unplaced.Remove(uid);
                _members.Replace(old, null);
                nodes.Move(old, null);
            }

            return;
        }

        _oldOfChanged.TryAdd(uid, old);
        var entry = Entry(old, uid, parts);
        nodes.Move(old, entry);
        if (old is not null && old.ListKey != entry.ListKey)
        {
            _byName.Remove(old.ListKey);
        }

        Set(old, entry);
    }

    /// <summary>Renews what the instances of a node know of it.</summary>
    public void RefreshNode(string nodeUid)
    {
        var placed = (before.NodesByUid.Find(nodeUid)?.InstanceUids ?? NodeEntry.NoInstances)
            .Union(nodes.Find(nodeUid)?.InstanceUids ?? NodeEntry.NoInstances);
        foreach (var uid in placed)
        {
            if (_byUid.Find(uid) is not { } entry || entry.NodeId?.Value != nodeUid)
            {
                continue;
            }

            var renewed = Entry(entry, uid, InstanceParts.Of(entry), vanishedNodeRevision: revision);
            if (renewed.Node != entry.Node)
            {
                _oldOfChanged.TryAdd(uid, entry);
                Set(entry, renewed);
            }
        }
    }

    public List<EntryChange<InstanceEntry>> Finish()
    {
        var changes = new List<EntryChange<InstanceEntry>>(_oldOfChanged.Count);
        foreach (var (uid, old) in _oldOfChanged)
        {
            if (_byUid.Find(uid) is var current && (old is not null || current is not null))
            {
                changes.Add(new(old, current));
            }
        }

        return changes;
    }

    /// <remarks>One object for each text, however often the entry is made anew: they are the keys of maps too.</remarks>
    private InstanceEntry Entry(InstanceEntry? old, string uid, InstanceParts parts, long vanishedNodeRevision = 0)
    {
        var (spec, placement) = (parts.Spec.Packed, parts.Placement.Packed);
        var node = nodes.Placed(placement);
        var nodeRevision = node switch
        {
            null => 0,
            { Exists: false } => vanishedNodeRevision,
            _ => node.HealthRevision,
        };
        var last = Math.Max(Math.Max(parts.Spec.Revision, parts.Placement.Revision), Math.Max(parts.Status.Revision, nodeRevision));
        return new()
        {
            Id = old?.Id ?? new(uid),
            PackedSpec = old?.ListKey == spec.ListKey ? spec with { ListKey = old.ListKey } : spec,
            SpecRevision = parts.Spec.Revision,
            PackedPlacement = node is null ? placement : placement with { NodeUid = node.Uid },
            PlacementRevision = placement.Exists ? parts.Placement.Revision : 0,
            PackedStatus = parts.Status.Packed,
            StatusRevision = parts.Status.Packed.Exists ? parts.Status.Revision : 0,
            Node = node,
            ResourceVersion = ResourceVersion.Of(incarnation, last),
        };
    }

    private void Set(InstanceEntry? old, InstanceEntry entry)
    {
        _members.Replace(old, entry);
        _byUid.Set(entry.Id.Value, entry);
        _byName.Set(entry.ListKey, entry);
        if (entry.NodeId is null && !entry.Deleting)
        {
            _unplaced.Set(entry.Id.Value, entry);
        }
        else
        {
            _unplaced.Remove(entry.Id.Value);
        }
    }

    private void Remember(string uid, InstanceParts parts)
    {
        if (!parts.Spec.Packed.Exists && !parts.IsEmpty)
        {
            orphans.Instances[uid] = parts.Copy();
        }
        else
        {
            orphans.Instances.Remove(uid);
        }
    }
}
