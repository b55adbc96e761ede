using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State.Packing;

namespace Hypervisor.Server.State;

/// <summary>The nodes of the next view: their records, and what is placed on them.</summary>
internal sealed class NodeIndexBuilder(ClusterView before, Incarnation incarnation, OrphanedParts orphans)
{
    private readonly OrderedMap<NodeEntry>.Builder _byUid = before.NodesByUid.ToBuilder();
    private readonly OrderedMap<NodeEntry>.Builder _byName = before.NodesByName.ToBuilder();
    private readonly SortedDictionary<string, NodeEntry?> _oldOfChanged = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _healthChanged = new(StringComparer.Ordinal);

    public IEnumerable<string> UidsWithChangedHealth => _healthChanged;

    public OrderedMap<NodeEntry> ByUid => _byUid.ToMap();

    public OrderedMap<NodeEntry> ByName => _byName.ToMap();

    public NodeEntry? Find(string uid) => _byUid.Find(uid);

    public void Apply(string uid, NodeParts parts)
    {
        var old = _byUid.Find(uid);
        if (parts.Spec.Record is null && !parts.IsEmpty)
        {
            orphans.Nodes[uid] = parts.Copy();
        }
        else
        {
            orphans.Nodes.Remove(uid);
        }

        if (parts.Spec.Record is not { } spec)
        {
            if (old is not null)
            {
                Touch(uid, old);
                _byUid.Remove(uid);
                _byName.Remove(old.Name);
                _healthChanged.Add(uid);
            }

            return;
        }

        var labels = NodeEntry.NoLabels.ToBuilder();
        foreach (var (key, value) in (parts.Registration.Record?.Labels ?? []).Concat(spec.Metadata.Labels))
        {
            labels[key] = value;
        }

        if (old is null || old.HealthRevision != parts.Health.Revision)
        {
            _healthChanged.Add(uid);
        }

        Touch(uid, old);
        if (old is not null && old.Name != spec.Metadata.Name)
        {
            _byName.Remove(old.Name);
        }

        var (uids, allocated) = old is null ? PlacedBefore(uid) : (old.InstanceUids, old.Allocated);
        var partsRevision = Math.Max(
            Math.Max(parts.Spec.Revision, parts.Registration.Revision), Math.Max(parts.Health.Revision, parts.Drain.Revision));
        Set(new()
        {
            Id = new(uid),
            SpecRecord = spec,
            SpecRevision = parts.Spec.Revision,
            RegistrationRecord = parts.Registration.Record,
            RegistrationRevision = parts.Registration.Record is null ? 0 : parts.Registration.Revision,
            HealthRecord = parts.Health.Record,
            HealthRevision = parts.Health.Record is null ? 0 : parts.Health.Revision,
            DrainRecord = parts.Drain.Record,
            DrainRevision = parts.Drain.Record is null ? 0 : parts.Drain.Revision,
            InstanceUids = uids,
            Allocated = allocated,
            Labels = labels.ToImmutable(),
            ResourceVersion = ResourceVersion.Of(incarnation, partsRevision),
        });
    }

    /// <summary>Moves an instance's reservation from where it was to where it is now.</summary>
    public void Move(InstanceEntry? old, InstanceEntry? current)
    {
        var from = old?.NodeId?.Value;
        var to = current?.NodeId?.Value;
        if (from == to && (from is null || old!.PlacementRevision == current!.PlacementRevision))
        {
            return;
        }

        var (left, taken) = (old?.PlacementRecord?.Reserved, current?.PlacementRecord?.Reserved);
        if (from == to && Equals(left, taken))
        {
            return;
        }

        if (from is not null && _byUid.Find(from) is { } source)
        {
            Touch(from, source);
            Set(source.With(source.InstanceUids.Remove(old!.Id.Value), source.Allocated - left));
        }

        if (to is not null && _byUid.Find(to) is { } target)
        {
            Touch(to, target);
            Set(target.With(target.InstanceUids.Add(current!.Id.Value), target.Allocated + taken));
        }
    }

    public PlacedNode? Placed(PackedPlacement placement) => placement.NodeUid is not { } uid
        ? null
        : _byUid.Find(uid)?.Placed ?? new(uid, placement.Unpack()!.Placement.Node, Exists: false, NodeLiveness.Unspecified, null, 0);

    public List<EntryChange<NodeEntry>> Finish()
    {
        var changes = new List<EntryChange<NodeEntry>>(_oldOfChanged.Count);
        foreach (var (uid, old) in _oldOfChanged)
        {
            if (_byUid.Find(uid) is var current && (old is not null || current is not null))
            {
                changes.Add(new(old, current));
            }
        }

        return changes;
    }

    // A uid is never used again, so placements that name a node before it appears are the trace of a fault; they still count.
    private (OrderedSet Uids, NodeAllocation Allocated) PlacedBefore(string uid)
    {
        var uids = new List<string>();
        var allocated = default(NodeAllocation);
        foreach (var instance in before.InstancesByUid.Values.Where(instance => instance.NodeId?.Value == uid))
        {
            uids.Add(instance.Id.Value);
            allocated += instance.PlacementRecord!.Reserved;
        }

        return (NodeEntry.NoInstances.Union(uids), allocated);
    }

    private void Set(NodeEntry entry)
    {
        _byUid.Set(entry.Id.Value, entry);
        _byName.Set(entry.Name, entry);
    }

    private void Touch(string uid, NodeEntry? old) => _oldOfChanged.TryAdd(uid, old);
}
