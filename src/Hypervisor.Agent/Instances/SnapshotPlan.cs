using Google.Protobuf.WellKnownTypes;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What of snapshots and restores is still to be done, and how it looks to users; pure.</summary>
internal static class SnapshotPlan
{
    /// <summary>A condition: whether the last restore that was asked for was possible.</summary>
    public const string Restored = "Restored";

    private const string Lost = "SnapshotLost";

    /// <summary>
    /// The next step, or null when nothing is to be done. The control plane lets nobody take a snapshot while a restore is under way or
    /// the other way round, so that their order is never in doubt.
    /// </summary>
    public static RunnerAction? Next(Assignment desired, DriverInstance? found)
    {
        if (Unwanted(desired, found) is not null)
        {
            return RunnerAction.DeleteSnapshot;
        }

        return DueRestore(desired, found) is not null ? RunnerAction.Restore : DueSnapshot(desired, found) is not null ? RunnerAction.Snapshot : null;
    }

    /// <summary>Whether a step means what runs now, and not only what is on its disks: not one that can wait for its end.</summary>
    public static bool NeedsRun(RunnerAction step, Assignment desired, DriverInstance? found) =>
        step != RunnerAction.Snapshot || DueSnapshot(desired, found) is { Memory: true };

    /// <summary>
    /// One that was deleted. Of an earlier incarnation of the store nothing is: what a store that was put back to a backup does not
    /// know, nobody has deleted.
    /// </summary>
    public static DriverSnapshot? Unwanted(Assignment desired, DriverInstance? found) => found?.Snapshots.FirstOrDefault(snapshot =>
        IncarnationOf(snapshot.Wanted.Epoch) == IncarnationOf(desired.Epoch)
        && desired.Spec.Snapshots.All(wanted => wanted.Uid != snapshot.Wanted.Uid));

    /// <summary>One that is wanted and was not tried yet.</summary>
    public static SnapshotSpec? DueSnapshot(Assignment desired, DriverInstance? found) => desired.Spec.Snapshots.FirstOrDefault(wanted =>
        IsOfThisStay(wanted, desired) && (found is null || found.Snapshots.All(snapshot => snapshot.Wanted.Uid != wanted.Uid || !snapshot.Tried)));

    /// <summary>A restore that was asked for since the last one. What has just been made has nothing to be put back to.</summary>
    public static RestoreSpec? DueRestore(Assignment desired, DriverInstance? found) =>
        found is not null && desired.Spec.Restore is { } restore && restore.Generation > (found.Restored?.Generation ?? 0) ? restore : null;

    /// <summary>Of every snapshot that is wanted.</summary>
    /// <param name="keeps">Whether the driver can keep any.</param>
    public static IEnumerable<SnapshotStatus> Statuses(Assignment desired, DriverInstance? found, bool keeps) =>
        desired.Spec.Snapshots.Select(wanted => StatusOf(desired, wanted, found, keeps));

    private static SnapshotStatus StatusOf(Assignment desired, SnapshotSpec wanted, DriverInstance? found, bool keeps)
    {
        var status = new SnapshotStatus { Uid = wanted.Uid, State = SnapshotState.Creating };
        if (found?.Snapshots.FirstOrDefault(snapshot => snapshot.Wanted.Uid == wanted.Uid) is { Tried: true } kept)
        {
            status.State = kept.Reason.Length > 0 ? SnapshotState.Failed : SnapshotState.Ready;
            (status.Reason, status.Message, status.SizeBytes) = (kept.Reason, kept.Message, kept.SizeBytes);
            (status.Memory, status.Quiesced) = (kept.Memory, kept.Quiesced);
            status.TakenAt = kept.TakenAt?.ToTimestamp();
        }
        else if (!IsOfThisStay(wanted, desired))
        {
            (status.State, status.Reason, status.Message) =
                (SnapshotState.Failed, Lost, "It was on a node that the instance has left since; delete it.");
        }
        else if (!keeps)
        {
            (status.State, status.Reason, status.Message) =
                (SnapshotState.Failed, "SnapshotUnsupported", "The driver that holds the instance keeps no snapshots; delete it.");
        }

        return status;
    }

    private static bool IsOfThisStay(SnapshotSpec wanted, Assignment desired) => wanted.Epoch >= desired.FirstEpoch;

    private static long IncarnationOf(long epoch) => epoch >> 48;
}
