using System.Collections.Immutable;
using System.Text;
using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.State.Packing;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>
/// Makes the next view out of a view and what the store says changed. The changes of one revision may come in any order;
/// entries are made only once all of them are known.
/// </summary>
internal sealed class ViewBuilder
{
    private readonly OrphanedParts _orphans;
    private readonly SortedDictionary<string, InstanceParts> _instances = new(StringComparer.Ordinal);

    /// <summary>Who got which name: a deletion says the name only.</summary>
    private readonly Dictionary<string, string> _named = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, NodeParts> _nodes = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, (ImageRecord? Record, long Revision)> _images = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, (TombstoneRecord? Record, long Revision)> _tombstones = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, (EventRecord? Record, long Revision)> _events = new(StringComparer.Ordinal);
    private readonly GroupIndexBuilder _groups;
    private readonly ClusterView _before;
    private ImmutableSortedDictionary<string, string> _subnets;
    private LeaderEntry? _leader;
    private string _clusterUid;
    private Incarnation _incarnation;

    public ViewBuilder(ClusterView before, OrphanedParts orphans)
    {
        (_before, _orphans, _groups) = (before, orphans, new(before));
        (_subnets, _leader, _clusterUid, _incarnation) = (before.Subnets, before.Leader, before.ClusterUid, before.Incarnation);
    }

    /// <exception cref="CorruptRecordException">The value is not what the key promises.</exception>
    public void Put(KeyValue item)
    {
        try
        {
            Apply(item.Key, item, deleted: false);
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or ArgumentOutOfRangeException or InvalidOperationException)
        {
            throw new CorruptRecordException(item.Key, item.ModRevision, exception);
        }
    }

    public void Delete(string key, long revision) => Apply(key, new KeyValue(key, default, 0, revision, 0), deleted: true);

    public (ClusterView View, StateChange Change) Build(long revision)
    {
        var nodes = new NodeIndexBuilder(_before, _incarnation, _orphans);
        var instances = new InstanceIndexBuilder(_before, _incarnation, revision, nodes, _orphans);

        foreach (var (uid, parts) in _nodes)
        {
            nodes.Apply(uid, parts);
        }

        foreach (var (uid, parts) in _instances)
        {
            instances.Apply(uid, parts);
        }

        // Liveness is shown on instances: those of a node that changed change with it.
        foreach (var uid in nodes.UidsWithChangedHealth)
        {
            instances.RefreshNode(uid);
        }

        var imageChanges = new List<EntryChange<ImageEntry>>();
        var images = _before.ImagesByKey.ToBuilder();
        foreach (var (key, (record, modRevision)) in _images)
        {
            var slash = key.IndexOf('/', StringComparison.Ordinal);
            var entry = record is null ? null : new ImageEntry(key[..slash], key[(slash + 1)..], record, modRevision);
            imageChanges.Add(Replace(images, key, entry));
        }

        var tombstoneChanges = new List<EntryChange<TombstoneEntry>>();
        var tombstones = _before.TombstonesByUid.ToBuilder();
        var tombstoneNames = _before.TombstonesByName.ToBuilder();
        foreach (var (uid, (record, modRevision)) in _tombstones)
        {
            var change = Replace(tombstones, uid, record is null ? null : new TombstoneEntry(new(uid), record, modRevision));
            tombstoneChanges.Add(change);
            if (change.Old is { } old)
            {
                tombstoneNames.Remove($"{old.Record.Project}/{old.Record.Name}/{uid}");
            }

            if (change.New is { } current)
            {
                tombstoneNames.Set($"{current.Record.Project}/{current.Record.Name}/{uid}", current);
            }
        }

        var (events, eventsByTime, eventChanges) = Events();
        var (groups, groupsByName, groupChanges) = _groups.Build(_incarnation);
        var instanceChanges = instances.Finish();
        var nodeChanges = nodes.Finish();
        var view = new ClusterView
        {
            Revision = revision,
            Incarnation = _incarnation,
            ClusterUid = _clusterUid,
            Leader = _leader,
            Subnets = _subnets,
            InstancesByUid = instances.ByUid,
            InstancesByName = instances.ByName,
            UnplacedByUid = instances.Unplaced,
            NodesByUid = nodes.ByUid,
            NodesByName = nodes.ByName,
            ImagesByKey = images.ToMap(),
            TombstonesByUid = tombstones.ToMap(),
            TombstonesByName = tombstoneNames.ToMap(),
            EventsByKey = events,
            EventsByTime = eventsByTime,
            GroupsByUid = groups,
            GroupsByName = groupsByName,
            MembersByGroup = instances.MembersByGroup,
            GroupTallies = instances.GroupTallies,
        };

        return (view, new(revision, instanceChanges, nodeChanges, imageChanges, tombstoneChanges, _leader != _before.Leader)
        {
            Events = eventChanges,
            Groups = groupChanges,
            ShownGroups = ShownGroup.Changes(_before, view, groupChanges, instances.GroupsWithChangedMembers),
        });
    }

    private (OrderedMap<EventEntry> ByKey, OrderedMap<EventEntry> ByTime, IReadOnlyList<EntryChange<EventEntry>> Changes) Events()
    {
        if (_events.Count == 0)
        {
            return (_before.EventsByKey, _before.EventsByTime, []);
        }

        var changes = new List<EntryChange<EventEntry>>(_events.Count);
        var byKey = _before.EventsByKey.ToBuilder();
        var byTime = _before.EventsByTime.ToBuilder();
        foreach (var (key, (record, modRevision)) in _events)
        {
            var entry = record?.Event is { LastAt: not null } held ? new EventEntry(held, ResourceVersion.Of(_incarnation, modRevision)) : null;
            var change = Replace(byKey, key, entry);
            changes.Add(change);
            if (change.Old is { } old)
            {
                byTime.Remove(old.ListKey);
            }

            if (entry is not null)
            {
                byTime.Set(entry.ListKey, entry);
            }
        }

        return (byKey.ToMap(), byTime.ToMap(), changes);
    }

    private static EntryChange<TEntry> Replace<TEntry>(OrderedMap<TEntry>.Builder map, string key, TEntry? entry)
        where TEntry : class
    {
        var old = map.Find(key);
        if (entry is null)
        {
            map.Remove(key);
        }
        else
        {
            map.Set(key, entry);
        }

        return new(old, entry);
    }

    private void Apply(string key, KeyValue item, bool deleted)
    {
        var revision = item.ModRevision;
        var value = item.Value.Span;
        if (After(key, Keys.Specs) is { } name)
        {
            Spec(name, value, revision, deleted);
        }
        else if (After(key, Keys.Placements) is { } placementUid)
        {
            Instance(placementUid).Placement = new(deleted ? default : PackedPlacement.Of(value), revision);
        }
        else if (After(key, Keys.Statuses) is { } statusUid)
        {
            Instance(statusUid).Status = new(deleted ? default : PackedStatus.Of(value), revision);
        }
        else if (After(key, Keys.Tombstones) is { } tombstoneUid)
        {
            _tombstones[tombstoneUid] = (deleted ? null : TombstoneRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.NodeSpecs) is { } nodeUid)
        {
            Node(nodeUid).Spec = new(deleted ? null : NodeSpecRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.NodeRegistrations) is { } registrationUid)
        {
            Node(registrationUid).Registration = new(deleted ? null : NodeRegistrationRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.NodeHealths) is { } healthUid)
        {
            Node(healthUid).Health = new(deleted ? null : NodeHealthRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.NodeDrains) is { } drainUid)
        {
            Node(drainUid).Drain = new(deleted ? null : NodeDrainRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.Images) is { } image && image.Contains('/', StringComparison.Ordinal))
        {
            _images[image] = (deleted ? null : ImageRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.Events) is { } happened)
        {
            _events[happened] = (deleted ? null : EventRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.GroupSpecs) is { } groupUid)
        {
            _groups.Group(groupUid).Spec = new(deleted ? null : GroupRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.GroupStatuses) is { } groupStatusUid)
        {
            _groups.Group(groupStatusUid).Status = new(deleted ? null : GroupStatusRecord.Parser.ParseFrom(value), revision);
        }
        else if (After(key, Keys.NodeSubnets) is { } subnet)
        {
            var cidr = subnet.Replace('_', '/');
            _subnets = deleted ? _subnets.Remove(cidr) : _subnets.SetItem(cidr, NodeHoldRecord.Parser.ParseFrom(value).NodeUid);
        }
        else if (key == Keys.Leader(Keys.ControllerElection))
        {
            _leader = deleted ? null : new(Encoding.UTF8.GetString(value), item.CreateRevision);
        }
        else if (key == Keys.ClusterIdentity && !deleted)
        {
            var identity = ClusterIdentity.Parser.ParseFrom(value);
            (_clusterUid, _incarnation) = (identity.ClusterUid, new Incarnation(identity.Incarnation));
        }

        // Names of nodes and groups are held for writers; receipts and earlier templates of groups are read from the store when somebody asks.
    }

    private void Spec(string name, ReadOnlySpan<byte> value, long revision, bool deleted)
    {
        var uid = deleted ? null : name.Contains('/', StringComparison.Ordinal)
            ? PackedSpec.UidOf(value)
            : throw new InvalidOperationException("The key has no project and name: it was written by a build from before they were there.");
        if ((_named.GetValueOrDefault(name) ?? _before.InstancesByName.Find(name)?.Id.Value) is { } holder && holder != uid)
        {
            Instance(holder).Spec = new(default, revision);
        }

        if (uid is not null)
        {
            Instance(uid).Spec = new(PackedSpec.Of(new(uid), value), revision);
            _named[name] = uid;
        }
    }

    private InstanceParts Instance(string uid)
    {
        if (!_instances.TryGetValue(uid, out var parts))
        {
            _instances.Add(uid, parts = _before.InstancesByUid.Find(uid) is { } entry
                ? InstanceParts.Of(entry)
                : _orphans.Instances.GetValueOrDefault(uid)?.Copy() ?? new());
        }

        return parts;
    }

    private NodeParts Node(string uid)
    {
        if (!_nodes.TryGetValue(uid, out var parts))
        {
            _nodes.Add(uid, parts = _before.NodesByUid.Find(uid) is { } entry
                ? NodeParts.Of(entry)
                : _orphans.Nodes.GetValueOrDefault(uid)?.Copy() ?? new());
        }

        return parts;
    }

    private static string? After(string key, string prefix) =>
        key.StartsWith(prefix, StringComparison.Ordinal) ? key[prefix.Length..] : null;
}

/// <summary>A record of the store cannot be read: the store was written by something else or is damaged.</summary>
internal sealed class CorruptRecordException(string key, long revision, Exception inner)
    : Exception($"The value of '{key}' at revision {revision} is not readable; restore the store from a backup or repair this key.", inner);
