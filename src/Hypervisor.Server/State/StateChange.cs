using Hypervisor.Protocol;

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

    /// <summary>Groups of which something else is shown than before, also when only the numbers of their members did change.</summary>
    public IReadOnlyList<EntryChange<ShownGroup>> ShownGroups { get; init; } = [];

    /// <summary>What it costs to keep it.</summary>
    public int EntryCount => Instances.Count + Nodes.Count + Images.Count + Tombstones.Count + Events.Count + Groups.Count + ShownGroups.Count + 1;

    public bool IsEmpty => EntryCount == 1 && !LeaderChanged;

    /// <summary>
    /// Nodes whose agents may have to do something, with repetitions: the node itself changed, an instance came, left or is wanted otherwise, or a
    /// tombstone names the node. Not those that reported an instance as unclaimed: anybody's change may be about that.
    /// </summary>
    public IEnumerable<NodeId> ConcernedNodes()
    {
        foreach (var (old, current) in Nodes)
        {
            yield return (current ?? old)!.Id;
        }

        foreach (var (old, current) in Instances)
        {
            // Most changes are statuses, which come from the agent itself; but one that was evicted is removed once it has stopped.
            if (old is not null && current is not null && old.PlacementRevision == current.PlacementRevision && old.SpecRevision == current.SpecRevision
                && old.Leaves == current.Leaves)
            {
                continue;
            }

            if (old?.NodeId is { } left)
            {
                yield return left;
            }

            if (current?.NodeId is { } holder)
            {
                yield return holder;
            }
        }

        foreach (var (old, current) in Tombstones)
        {
            foreach (var entry in new[] { old, current }.OfType<TombstoneEntry>())
            {
                foreach (var node in entry.Record.PendingNodeUids.Concat(entry.Record.Purges.Keys))
                {
                    yield return new(node);
                }
            }
        }
    }
}

/// <summary>An entry before and after; null before it existed and after it is gone.</summary>
internal readonly record struct EntryChange<TEntry>(TEntry? Old, TEntry? New)
    where TEntry : class;
