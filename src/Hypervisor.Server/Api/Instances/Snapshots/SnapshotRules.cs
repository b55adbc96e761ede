using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Instances.Snapshots;

/// <summary>When snapshots can be asked for, as pure functions of what the view shows.</summary>
internal static class SnapshotRules
{
    /// <exception cref="Grpc.Core.RpcException">Why it cannot be taken.</exception>
    public static void CheckCreate(InstanceEntry entry, string name, bool memory)
    {
        RefuseContainer(entry, "has no disk of its own to be kept; copy files out of it with CopyFrom, or run its image as a microVM");
        if (entry.Spec.Snapshots.Any(snapshot => snapshot.Name == name))
        {
            throw ApiErrors.AlreadyExists(
                "Snapshot", name, $"Instance '{entry.Name}' has a snapshot '{name}'; take another name, or delete that one first.");
        }

        if (entry.Spec.Snapshots.Count >= Limits.Instance.Snapshots)
        {
            throw Refusal(entry, "TOO_MANY_SNAPSHOTS", $"has {entry.Spec.Snapshots.Count} snapshots, which is the most; delete one first");
        }

        if (entry.NodeId is null)
        {
            throw Refusal(entry, "NOT_PLACED", "is on no node yet, so it has no disks; try again when it has a node");
        }

        RefuseWhileRestoring(entry);
        if (memory && entry.Spec.DesiredState == DesiredState.Stopped)
        {
            throw Refusal(entry, "NOT_RUNNING", "is stopped and has nothing in memory; start it, or leave memory out");
        }
    }

    /// <exception cref="Grpc.Core.RpcException">Why it cannot be deleted.</exception>
    public static void CheckDelete(InstanceEntry entry, SnapshotSpec snapshot, ClusterView view)
    {
        if (IsRestoring(entry) && entry.Spec.Restore.SnapshotUid == snapshot.Uid)
        {
            throw Refusal(entry, "RESTORE_UNDER_WAY", $"is being put back to snapshot '{snapshot.Name}'; delete it when that is done");
        }

        // Few instances are clones, and deleting snapshots is rare: looking at all costs less than an index.
        if (view.Instances.FirstOrDefault(other => other.IsClone && other.Spec.Source.SnapshotUid == snapshot.Uid && IsBeingMade(other)) is { } clone)
        {
            throw Refusal(
                entry, "CLONE_UNDER_WAY", $"has a snapshot '{snapshot.Name}' that '{clone.Name}' is being made of; wait until that has disks of its own, or delete it");
        }
    }

    /// <summary>What its node has of it.</summary>
    /// <exception cref="Grpc.Core.RpcException">It cannot be used.</exception>
    public static SnapshotStatus Ready(InstanceEntry entry, SnapshotSpec snapshot)
    {
        var status = StatusOf(entry, snapshot);
        return status.State == SnapshotState.Ready ? status : throw Refusal(
            entry,
            "SNAPSHOT_NOT_READY",
            status.State == SnapshotState.Failed
                ? $"has no usable snapshot '{snapshot.Name}': {status.Reason}: {status.Message.TrimEnd('.')}"
                : $"has a snapshot '{snapshot.Name}' that is not taken yet; try again when it is READY");
    }

    /// <summary>As its node reported it; being created until then.</summary>
    public static SnapshotStatus StatusOf(InstanceEntry entry, SnapshotSpec snapshot) =>
        entry.CurrentStatus?.Snapshots.FirstOrDefault(status => status.Uid == snapshot.Uid)?.Clone()
        ?? new SnapshotStatus { Uid = snapshot.Uid, State = SnapshotState.Creating };

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND.</exception>
    public static SnapshotSpec Find(InstanceSpec spec, InstanceEntry entry, string address) =>
        spec.Snapshots.FirstOrDefault(snapshot => snapshot.Name == address)
        ?? spec.Snapshots.FirstOrDefault(snapshot => snapshot.Uid == address)
        ?? throw ApiErrors.Error(
            Google.Rpc.Code.NotFound,
            $"Instance '{entry.Name}' has no snapshot '{Printable.Quote(address)}'.",
            new Google.Rpc.ResourceInfo { ResourceType = "Snapshot", ResourceName = Printable.Quote(address) });

    public static void RefuseContainer(InstanceEntry entry, string why)
    {
        if (entry.Spec.Type == InstanceType.Container)
        {
            throw Refusal(entry, "NOT_SUPPORTED", $"is a container, which {why}");
        }
    }

    public static void RefuseWhileRestoring(InstanceEntry entry)
    {
        if (IsRestoring(entry))
        {
            throw Refusal(entry, "RESTORE_UNDER_WAY", "is being put back to a snapshot; try again when that is done");
        }
    }

    public static Grpc.Core.RpcException Refusal(InstanceEntry entry, string reason, string why) =>
        ApiErrors.FailedPrecondition(reason, $"Instance '{entry.Name}' {why}.", "Instance", entry.Name);

    private static bool IsRestoring(InstanceEntry entry) =>
        entry.Spec.Restore is { } restore && (entry.CurrentStatus?.ObservedRestoreGeneration ?? 0) < restore.Generation;

    // Its first start, or its rest as one that is to be stopped, comes after its disks were made.
    private static bool IsBeingMade(InstanceEntry clone) => !clone.Deleting && (clone.CurrentStatus?.ObservedGeneration ?? 0) == 0;
}
