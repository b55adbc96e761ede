using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>
/// Snapshots of guests: their disks, and their memory by suspending them. The caller holds the guest's lock.
/// </summary>
/// <remarks>
/// Noted before anything of it is made and removed last, so that whatever becomes of the agent nothing is left that nobody knows. A step
/// that was broken off is begun again.
/// </remarks>
internal sealed partial class GuestSnapshots(
    IVmm vmm, GuestStore store, GuestRuns runs, IGuestDisks disks, IConfigDrives drives, TimeProvider time, ILogger<GuestSnapshots> log)
{
    /// <summary>The guest is suspended afterwards if it ran; when the snapshot fails it runs on.</summary>
    /// <exception cref="DriverException">The VMM does not answer. Everything else is noted.</exception>
    public async Task TakeAsync(GuestRecord record, VmmGuest? machine, SnapshotSpec wanted, CancellationToken cancellationToken)
    {
        if (Find(record, wanted.Uid) is { Done: true })
        {
            return;
        }

        if (Find(record, wanted.Uid) is null)
        {
            record = record with { Snapshots = [.. record.Snapshots, new NotedSnapshot(wanted)] };
            store.Write(record);
        }

        var uid = record.Assignment.Uid;
        try
        {
            var quiesced = false;
            if (machine is { State: VmmState.Running or VmmState.Paused })
            {
                quiesced = await HoldAsync(record, machine, wanted, cancellationToken);
                record = store.Read(uid)!;
            }

            var bytes = wanted.Memory ? KeepMemory(record, wanted) : 0;
            bytes += await disks.SnapshotAsync(store.FolderOf(uid), wanted.Uid, cancellationToken);
            Note(record, new NotedSnapshot(wanted)
            {
                Done = true,
                TakenAt = time.GetUtcNow(),
                SizeBytes = bytes,
                Memory = wanted.Memory,
                Quiesced = quiesced,
            });
        }
        catch (DriverException failure) when (failure.Reason != GuestLimits.Unavailable)
        {
            await GiveUpAsync(record.Id, machine, wanted, failure, cancellationToken);
        }
        catch (IOException failure)
        {
            var why = DriverException.IsFullDisk(failure)
                ? DriverException.OfFullDisk(failure)
                : new DriverException("SnapshotFailed", failure.Message, permanent: true, failure);
            await GiveUpAsync(record.Id, machine, wanted, why, cancellationToken);
        }
    }

    public void Delete(GuestRecord record, string snapshot)
    {
        var uid = record.Assignment.Uid;
        store.RemoveSnapshot(uid, snapshot);
        disks.DeleteSnapshot(store.FolderOf(uid), snapshot);
        store.Write(Refreshed(record) with { Snapshots = [.. record.Snapshots.Where(noted => noted.Wanted.Uid != snapshot)] });
    }

    /// <summary>The disks as they were; with memory the guest is suspended afterwards.</summary>
    /// <exception cref="DriverException">DiskFull, or the VMM does not answer. What is impossible is noted.</exception>
    public async Task RestoreAsync(GuestRecord record, VmmGuest? machine, RestoreSpec restore, CancellationToken cancellationToken)
    {
        if (record.Restored?.Generation >= restore.Generation)
        {
            return;
        }

        var (uid, snapshot) = (record.Assignment.Uid, restore.SnapshotUid);
        var saved = store.ReadMachine(uid, snapshot);
        if (Obstacle(record, saved, snapshot) is { } obstacle)
        {
            store.Write(record with { Restored = new DriverRestore(restore.Generation, snapshot, obstacle.Reason, obstacle.Message) });
            return;
        }

        if (machine is { State: VmmState.Running or VmmState.Paused })
        {
            await vmm.KillAsync(record.Id, cancellationToken);
        }

        runs.Ended(record.Id);

        // What it had in memory is of the disks as they are now: nothing may go on from it any more.
        record = record with
        {
            Suspended = false,
            FrozenAt = null,
            Exit = null,
            Crashes = 0,
            FinishedAt = record.StartedAt is null ? null : record.FinishedAt ?? time.GetUtcNow(),
        };
        store.Write(record);
        store.RemoveState(uid);
        await disks.RestoreAsync(store.FolderOf(uid), snapshot, cancellationToken);
        if (saved is not null)
        {
            store.TakeState(uid, snapshot);
            record = GuestPlan.PutBack(record, saved);
            if (record.Config is { } config)
            {
                // Without the exit of the run that it goes back to, should that have ended since.
                drives.Write(store.ConfigDriveOf(uid), config with { Run = record.Run });
            }
        }

        store.Write(Refreshed(record) with { Restored = new DriverRestore(restore.Generation, snapshot) });
        LogRestored(uid, snapshot, saved is not null);
    }

    /// <summary>The disks are to be made anew: nothing is left that the snapshots could be of.</summary>
    public GuestRecord Lose(GuestRecord record, string why)
    {
        foreach (var snapshot in record.Snapshots)
        {
            store.RemoveSnapshot(record.Assignment.Uid, snapshot.Wanted.Uid);
        }

        return record with
        {
            Snapshots = [.. record.Snapshots.Select(snapshot => snapshot.IsUsable || !snapshot.Done
                ? snapshot with { Done = true, Reason = "SnapshotLost", Message = why, SizeBytes = 0 }
                : snapshot)],
        };
    }

    private static NotedSnapshot? Find(GuestRecord record, string snapshot) => record.Snapshots.FirstOrDefault(noted => noted.Wanted.Uid == snapshot);

    private static (string Reason, string Message)? Obstacle(GuestRecord record, GuestRecord? saved, string snapshot) => Find(record, snapshot) switch
    {
        null => ("SnapshotNotFound", $"the node has no snapshot {snapshot} of the instance"),
        { IsUsable: false } noted => ("SnapshotNotFound", noted.Reason.Length > 0 ? $"the snapshot is none: {noted.Message}" : "the snapshot was not taken yet"),
        { Memory: true } when saved is null => ("SnapshotDamaged", "the file with the snapshot's memory is gone or no record of it can be read"),
        { Memory: true } when GuestPlan.Misfit(record, saved!) is { } misfit => ("SnapshotOfOtherMachine", misfit),
        _ => null,
    };

    /// <summary>
    /// Without the VMM's process nobody writes to the disks, and all that it had in mind is on disk. A guest that will boot from its disks alone is
    /// asked to put them in order first; one that goes on from its memory has the rest there.
    /// </summary>
    /// <returns>Whether it did.</returns>
    private async Task<bool> HoldAsync(GuestRecord record, VmmGuest machine, SnapshotSpec wanted, CancellationToken cancellationToken)
    {
        if ((vmm.Abilities & VmmAbilities.MemorySnapshots) == 0)
        {
            throw new DriverException("SnapshotNeedsStop", $"{vmm.Name} cannot hold a guest that runs; stop the instance first", permanent: true);
        }

        var quiesced = !wanted.Memory && machine.State == VmmState.Running && await runs.FreezeAsync(record, cancellationToken);
        await runs.SuspendAsync(store.Read(record.Assignment.Uid)! with { Interrupted = true }, machine, cancellationToken);
        return quiesced;
    }

    private long KeepMemory(GuestRecord record, SnapshotSpec wanted) => record.Suspended
        ? store.KeepState(record, wanted.Uid)
        : throw new DriverException("SnapshotNeedsMemory", "the instance does not run and has nothing in memory; leave memory out, or start it first", permanent: true);

    private async Task GiveUpAsync(
        InstanceId id, VmmGuest? machine, SnapshotSpec wanted, DriverException failure, CancellationToken cancellationToken)
    {
        if (machine is { State: VmmState.Running } && await vmm.GetAsync(id, cancellationToken) is { State: VmmState.Paused })
        {
            await vmm.ResumeAsync(id, cancellationToken);
            await runs.GoOnAsync(store.Read(id.Value)!, cancellationToken);
        }

        store.RemoveSnapshot(id.Value, wanted.Uid);
        disks.DeleteSnapshot(store.FolderOf(id.Value), wanted.Uid);
        LogFailed(id.Value, wanted.Uid, failure.Message);
        Note(store.Read(id.Value)!, new NotedSnapshot(wanted) { Done = true, Reason = failure.Reason, Message = failure.Message });
    }

    private void Note(GuestRecord record, NotedSnapshot done) => store.Write(Refreshed(record) with
    {
        Snapshots = [.. record.Snapshots.Select(noted => noted.Wanted.Uid == done.Wanted.Uid ? done : noted)],
    });

    private GuestRecord Refreshed(GuestRecord record) => record with { Disks = disks.Present(store.FolderOf(record.Assignment.Uid), record.Disks) };

    [LoggerMessage(Level = LogLevel.Warning, Message = "Snapshot {Snapshot} of guest {Id} could not be taken: {Detail}")]
    private partial void LogFailed(string id, string snapshot, string detail);

    [LoggerMessage(Level = LogLevel.Information, Message = "Guest {Id} was put back to snapshot {Snapshot} (with memory: {Memory})")]
    private partial void LogRestored(string id, string snapshot, bool memory);
}
