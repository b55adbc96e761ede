using System.Runtime.CompilerServices;
using Google.Rpc;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Nodes;

/// <summary>
/// The desired state of one node as a stream: all of it, <c>synced</c>, then every change. What is not mentioned is not
/// touched (NoGhostKill): a removal is sent only where the store says so, with uid and epoch.
/// </summary>
internal sealed class AssignmentFeed(ClusterState state, IncarnationKeeper incarnations)
{
    /// <param name="seen">The highest version the agent has applied: this replica waits until it knows as much.</param>
    /// <exception cref="Grpc.Core.RpcException">UNAUTHENTICATED once the node is deregistered.</exception>
    public async IAsyncEnumerable<AssignmentEvent> WatchAsync(
        NodeId node, ResourceVersion seen, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var view = await incarnations.CatchUpAsync(Epoch.None, seen, cancellationToken);
        while (true)
        {
            using var changes = state.Subscribe(view.Revision);
            changes.Follow(Concerning(view, node));
            foreach (var assignment in Snapshot(view, node))
            {
                yield return assignment;
            }

            while (true)
            {
                var read = await changes.ReadAsync(Limits.Agents.AssignmentIdle, cancellationToken);
                if (read.Kind == FeedReadKind.Resync)
                {
                    break;
                }

                if (read.Change is not { } change)
                {
                    continue;
                }

                var version = ResourceVersion.Of(state.Incarnation, change.Revision);
                if (change.Nodes.Any(entry => entry.Old?.Id == node && entry.New is null))
                {
                    throw ApiErrors.Error(Code.Unauthenticated, "The node was deregistered.");
                }

                // What is unclaimed here may have been over when it was reported, or be over only now.
                var reported = change.Nodes.Any(entry => entry.New?.Id == node && entry.Old?.RegistrationRevision != entry.New.RegistrationRevision);

                // In this order: what comes before it is followed is in the view that is looked at afterwards.
                changes.Follow(Concerning(state.View, node));
                var current = state.View;
                if (current.Node(node) is { } self)
                {
                    foreach (var removal in UnclaimedLeftovers(current, self).Where(removal => reported || Concerns(change, removal)))
                    {
                        yield return Event(version, removal);
                    }
                }

                foreach (var (before, after) in change.Instances)
                {
                    if (EventFor(node, before, after) is { } difference)
                    {
                        difference.ResourceVersion = version.Value;
                        yield return difference;
                    }
                }

                foreach (var (before, after) in change.Tombstones)
                {
                    if (RemovalOf(after, node) is { } removal && removal.Epoch != RemovalOf(before, node)?.Epoch)
                    {
                        yield return Event(version, removal);
                    }
                }
            }

            // Too far behind: everything again. A put that the agent knows already changes nothing there.
            view = state.View;
        }
    }

    /// <summary>What is to be followed: only the node's own, unless it has something unclaimed, which may be over by a change that is elsewhere.</summary>
    private static NodeId? Concerning(ClusterView view, NodeId node) =>
        view.Node(node)?.RegistrationRecord?.Unclaimed.Count > 0 ? null : node;

    private static IEnumerable<AssignmentEvent> Snapshot(ClusterView view, NodeId id)
    {
        var version = view.ResourceVersion;
        if (view.Node(id) is not { } node)
        {
            throw ApiErrors.Error(Code.Unauthenticated, "The node was deregistered.");
        }

        foreach (var instance in view.InstancesOn(node))
        {
            yield return instance.Leaves ? Event(version, RemovalOf(instance)) : Event(version, AssignmentOf(instance));
        }

        foreach (var tombstone in view.Tombstones)
        {
            if (RemovalOf(tombstone, id) is { } removal)
            {
                yield return Event(version, removal);
            }
        }

        foreach (var removal in UnclaimedLeftovers(view, node))
        {
            yield return Event(version, removal);
        }

        yield return new() { ResourceVersion = version.Value, Synced = new() };
    }

    /// <summary>
    /// What the agent reported as unclaimed and the store knows to be over: deleted under that epoch or a later one, or placed
    /// elsewhere under a later one. This is how a node learns of a move or deletion that it slept through.
    /// </summary>
    private static IEnumerable<Removal> UnclaimedLeftovers(ClusterView view, NodeEntry node)
    {
        foreach (var unclaimed in node.RegistrationRecord?.Unclaimed ?? [])
        {
            var id = new InstanceId(unclaimed.Uid);
            if (OverUpTo(view, node, id, unclaimed.Epoch) is { } epoch)
            {
                yield return new() { Uid = unclaimed.Uid, Epoch = epoch, Type = unclaimed.Type };
            }
        }
    }

    /// <summary>
    /// The highest epoch under which nothing of the instance may be left on the node; null when the copy there is not known
    /// to be over. This is the store's word, not the copy's own epoch: half-made leftovers have none, and no removal is up to none.
    /// </summary>
    private static long? OverUpTo(ClusterView view, NodeEntry node, InstanceId id, long copy)
    {
        // Epoch 0 is of one that was never placed, or of a purge, which speaks of its own nodes only.
        if (view.Tombstone(id) is { Record.Epoch: > 0 } tombstone && tombstone.Record.Epoch >= copy)
        {
            return tombstone.Record.Epoch;
        }

        return view.Instance(id) is { } instance && instance.NodeId is { } holder && holder != node.Id && instance.Epoch.Value > copy
            ? instance.Epoch.Value - 1
            : null;
    }

    private static bool Concerns(StateChange change, Removal removal) =>
        change.Instances.Any(entry => (entry.New ?? entry.Old)?.Id.Value == removal.Uid)
        || change.Tombstones.Any(entry => entry.New?.Id.Value == removal.Uid);

    /// <summary>What a change of one instance means for one node; null when nothing.</summary>
    internal static AssignmentEvent? EventFor(NodeId node, InstanceEntry? before, InstanceEntry? after)
    {
        var wasHere = before?.NodeId == node;
        if (after?.NodeId == node)
        {
            var known = wasHere && before!.Epoch == after.Epoch && before.Leaves == after.Leaves && IsSame(before, after);
            if (after.Leaves)
            {
                return known ? null : new() { Remove = RemovalOf(after) };
            }

            // Status changes come from the agent itself and are no news to it.
            return known && before!.SpecRevision == after.SpecRevision ? null : new() { Put = AssignmentOf(after) };
        }

        // Gone altogether: the agent acknowledged that itself, or a tombstone names it. Without a newer epoch elsewhere the
        // old copy is nobody else's, and it stays.
        return wasHere && after is { NodeId: not null } && after.Epoch > before!.Epoch ? new() { Remove = RemovalOf(before) } : null;
    }

    private static Assignment AssignmentOf(InstanceEntry instance)
    {
        var (record, eviction) = (instance.PackedSpec.UnpackWithoutSpec(instance.Id), instance.Eviction);
        var assignment = new Assignment
        {
            Uid = instance.Id.Value,
            Name = instance.Name,
            Project = instance.Project,
            Generation = record.Metadata.Generation,
            Epoch = instance.Epoch.Value,
            Spec = eviction is null ? instance.Spec : AtRest(instance.Spec, eviction),
            Parking = eviction is { InPlace: true, Parked: false } ? instance.PlacementRevision : 0,
            TraceParent = record.TraceParent,
            FirstEpoch = instance.PlacementRecord?.Placement?.FirstEpoch ?? 0,
        };
        assignment.Labels.Add(record.Metadata.Labels);
        return assignment;
    }

    /// <summary>What was evicted ends as if its user had stopped it, and is removed only then; or it comes to rest where it is.</summary>
    private static InstanceSpec AtRest(InstanceSpec spec, Eviction eviction)
    {
        var resting = spec.Clone();
        resting.DesiredState = eviction.Suspends && spec.DesiredState != DesiredState.Stopped ? DesiredState.Suspended : DesiredState.Stopped;
        return resting;
    }

    private static bool IsSame(InstanceEntry before, InstanceEntry after) =>
        before.IsEvicted == after.IsEvicted && (!after.IsEvicted || before.Eviction!.Suspends == after.Eviction!.Suspends);

    private static Removal RemovalOf(InstanceEntry instance) =>
        new() { Uid = instance.Id.Value, Epoch = instance.Epoch.Value, Type = instance.Type };

    /// <summary>What the tombstone asks of this node: as one that held the instance, or as one whose unclaimed copy is purged.</summary>
    private static Removal? RemovalOf(TombstoneEntry? tombstone, NodeId node)
    {
        if (tombstone is null)
        {
            return null;
        }

        var isPending = tombstone.Record.PendingNodeUids.Contains(node.Value);
        var isPurged = tombstone.Record.Purges.TryGetValue(node.Value, out var purged);
        return isPending || isPurged
            ? new() { Uid = tombstone.Id.Value, Epoch = Math.Max(isPending ? tombstone.Record.Epoch : 0, purged), Type = tombstone.Record.Type }
            : null;
    }

    private static AssignmentEvent Event(ResourceVersion version, Assignment put) => new() { ResourceVersion = version.Value, Put = put };

    private static AssignmentEvent Event(ResourceVersion version, Removal removal) => new() { ResourceVersion = version.Value, Remove = removal };
}
