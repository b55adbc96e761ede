namespace Hypervisor.Server.State;

/// <summary>
/// Everything one store revision changed, never a part of it. An entry is listed once, in ordinal order of its id; nodes are
/// also listed when only their allocation changed, instances also when only their node's liveness did.
/// </summary>
internal sealed record StateChange(
    long Revision,
    IReadOnlyList<EntryChange<InstanceEntry>> Instances,
    IReadOnlyList<EntryChange<NodeEntry>> Nodes,
    IReadOnlyList<EntryChange<ImageEntry>> Images,
    IReadOnlyList<EntryChange<TombstoneEntry>> Tombstones,
    bool LeaderChanged)
{
    public IReadOnlyList<EntryChange<EventEntry>> Events { get; init; } = [];

    public IReadOnlyList<EntryChange<GroupEntry>> Groups { get; init; } = [];

    /// <summary>What it costs to keep it.</summary>
    public int EntryCount => Instances.Count + Nodes.Count + Images.Count + Tombstones.Count + Events.Count + Groups.Count + 1;

    public bool IsEmpty => EntryCount == 1 && !LeaderChanged;
}

/// <summary>An entry before and after; null before it existed and after it is gone.</summary>
internal readonly record struct EntryChange<TEntry>(TEntry? Old, TEntry? New)
    where TEntry : class;
