using System.Collections.Immutable;
using Hypervisor.Protocol;

namespace Hypervisor.Server.State;

/// <summary>
/// Everything the store held at one revision, indexed. Immutable and consistent in itself; enumerations are in ordinal
/// order of the stated key.
/// </summary>
internal sealed class ClusterView
{
    public static ClusterView Empty { get; } = new() { Revision = 0, Incarnation = Incarnation.First, ClusterUid = "" };

    /// <summary>0 before the first load.</summary>
    public required long Revision { get; init; }

    public required Incarnation Incarnation { get; init; }

    public required string ClusterUid { get; init; }

    public ResourceVersion ResourceVersion => ResourceVersion.Of(Incarnation, Revision);

    public LeaderEntry? Leader { get; init; }

    /// <summary>CIDR to uid of the node that holds it.</summary>
    public ImmutableSortedDictionary<string, string> Subnets { get; init; } =
        ImmutableSortedDictionary.Create<string, string>(StringComparer.Ordinal);

    internal OrderedMap<InstanceEntry> InstancesByUid { get; init; } = OrderedMap<InstanceEntry>.Empty;

    internal OrderedMap<InstanceEntry> InstancesByName { get; init; } = OrderedMap<InstanceEntry>.Empty;

    internal OrderedMap<InstanceEntry> UnplacedByUid { get; init; } = OrderedMap<InstanceEntry>.Empty;

    internal OrderedMap<NodeEntry> NodesByUid { get; init; } = OrderedMap<NodeEntry>.Empty;

    internal OrderedMap<NodeEntry> NodesByName { get; init; } = OrderedMap<NodeEntry>.Empty;

    internal OrderedMap<ImageEntry> ImagesByKey { get; init; } = OrderedMap<ImageEntry>.Empty;

    internal OrderedMap<TombstoneEntry> TombstonesByUid { get; init; } = OrderedMap<TombstoneEntry>.Empty;

    // Several instances of one name may have died within the tombstones' lifetime: the key ends with the uid.
    internal OrderedMap<TombstoneEntry> TombstonesByName { get; init; } = OrderedMap<TombstoneEntry>.Empty;

    internal OrderedMap<EventEntry> EventsByKey { get; init; } = OrderedMap<EventEntry>.Empty;

    internal OrderedMap<EventEntry> EventsByTime { get; init; } = OrderedMap<EventEntry>.Empty;

    internal OrderedMap<GroupEntry> GroupsByUid { get; init; } = OrderedMap<GroupEntry>.Empty;

    internal OrderedMap<GroupEntry> GroupsByName { get; init; } = OrderedMap<GroupEntry>.Empty;

    // By the uid of the group, then their own.
    internal OrderedMap<OrderedMap<InstanceEntry>> MembersByGroup { get; init; } = OrderedMap<OrderedMap<InstanceEntry>>.Empty;

    internal OrderedMap<GroupTally> GroupTallies { get; init; } = OrderedMap<GroupTally>.Empty;

    public int EventCount => EventsByKey.Count;

    /// <summary>By when each last happened.</summary>
    public IEnumerable<EventEntry> Events => EventsByTime.Values;

    public int InstanceCount => InstancesByUid.Count;

    public int NodeCount => NodesByUid.Count;

    /// <summary>All instances, by project and name.</summary>
    public IEnumerable<InstanceEntry> Instances => InstancesByName.Values;

    /// <summary>Instances that no node was found for yet, those that are being deleted left out, by uid.</summary>
    public IEnumerable<InstanceEntry> UnplacedInstances => UnplacedByUid.Values;

    public int UnplacedCount => UnplacedByUid.Count;

    /// <summary>By name.</summary>
    public IEnumerable<NodeEntry> Nodes => NodesByName.Values;

    /// <summary>By uid.</summary>
    public IEnumerable<TombstoneEntry> Tombstones => TombstonesByUid.Values;

    /// <summary>By project and reference.</summary>
    public IEnumerable<ImageEntry> Images => ImagesByKey.Values;

    public InstanceEntry? Instance(InstanceId id) => InstancesByUid.Find(id.Value);

    public InstanceEntry? InstanceByName(string project, string name) => InstancesByName.Find(InstanceEntry.ListKeyOf(project, name));

    /// <summary>Instances of a project, by name.</summary>
    public IEnumerable<InstanceEntry> InstancesOf(string project) => InstancesByName.WithPrefix(project + "/");

    /// <summary>Instances placed on a node, by uid.</summary>
    public IEnumerable<InstanceEntry> InstancesOn(NodeEntry node)
    {
        foreach (var uid in node.InstanceUids)
        {
            if (InstancesByUid.Find(uid) is { } instance)
            {
                yield return instance;
            }
        }
    }

    /// <summary>Instances of any project whose uid begins so, by uid.</summary>
    public IEnumerable<InstanceEntry> InstancesByUidPrefix(string prefix) => InstancesByUid.WithPrefix(prefix);

    public NodeEntry? Node(NodeId id) => NodesByUid.Find(id.Value);

    public NodeEntry? NodeByName(string name) => NodesByName.Find(name);

    /// <summary>By uid.</summary>
    public IEnumerable<NodeEntry> NodesByUidPrefix(string prefix) => NodesByUid.WithPrefix(prefix);

    /// <param name="reference">"name:tag".</param>
    public ImageEntry? Image(string project, string reference) => ImagesByKey.Find($"{project}/{reference}");

    /// <summary>By reference.</summary>
    public IEnumerable<ImageEntry> ImagesOf(string project) => ImagesByKey.WithPrefix(project + "/");

    public EventEntry? Event(string objectUid, string reason) => EventsByKey.Find($"{objectUid}/{reason}");

    /// <summary>Of one object, by reason.</summary>
    public IEnumerable<EventEntry> EventsOf(string objectUid) => EventsByKey.WithPrefix($"{objectUid}/");

    /// <param name="start">The first list key.</param>
    public IEnumerable<EventEntry> EventsFrom(string start) => EventsByTime.Range(start, null);

    /// <summary>By project and name.</summary>
    public IEnumerable<GroupEntry> Groups => GroupsByName.Values;

    public GroupEntry? Group(string uid) => GroupsByUid.Find(uid);

    public GroupEntry? GroupByName(string project, string name) => GroupsByName.Find(InstanceEntry.ListKeyOf(project, name));

    /// <summary>Members of a group, also those that are being deleted, by uid.</summary>
    public IEnumerable<InstanceEntry> MembersOf(GroupEntry group) => MembersByGroup.Find(group.Uid)?.Values ?? [];

    public GroupTally TallyOf(GroupEntry group) => GroupTallies.Find(group.Uid) ?? GroupTally.None;

    public TombstoneEntry? Tombstone(InstanceId id) => TombstonesByUid.Find(id.Value);

    /// <summary>Tombstones of instances that had this name, by uid.</summary>
    public IEnumerable<TombstoneEntry> TombstonesNamed(string project, string name) => TombstonesByName.WithPrefix($"{project}/{name}/");
}
