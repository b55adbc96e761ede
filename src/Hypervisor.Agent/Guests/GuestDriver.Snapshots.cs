using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

internal sealed partial class GuestDriver
{
    public bool KeepsSnapshots => true;

    public Task SnapshotAsync(InstanceId id, Epoch epoch, SnapshotSpec snapshot, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        var record = Whole(id, epoch);
        var machine = await vmm.GetAsync(id, cancellationToken);
        await snapshots.TakeAsync(runs.Settle(record, machine), machine, snapshot, cancellationToken);
    }, cancellationToken);

    public Task DeleteSnapshotAsync(InstanceId id, Epoch epoch, string snapshotUid, CancellationToken cancellationToken) => GuardAsync(id, () =>
    {
        snapshots.Delete(Found(id, epoch), snapshotUid);
        return Task.CompletedTask;
    }, cancellationToken);

    public Task RestoreAsync(InstanceId id, Epoch epoch, RestoreSpec restore, CancellationToken cancellationToken) => GuardAsync(id, async () =>
    {
        var record = Whole(id, epoch);
        await snapshots.RestoreAsync(record, await vmm.GetAsync(id, cancellationToken), restore, cancellationToken);
    }, cancellationToken);

    private GuestRecord Whole(InstanceId id, Epoch epoch)
    {
        var record = Found(id, epoch);
        return record.Made ? record : throw NotCreated(id);
    }

    /// <summary>
    /// A clone's disks. The files of a snapshot do not change, so that its source may do what it likes meanwhile; disks as they are can
    /// only be copied while nobody starts it.
    /// </summary>
    private async Task CopyAsync(CloneSource source, string uid, GuestImage image, CancellationToken cancellationToken)
    {
        if (store.Read(source.InstanceUid) is not { Made: true })
        {
            throw new DriverException(
                "CloneSourceGone",
                $"the node holds no disks of instance {source.InstanceUid}, of which this one is a clone: it was never started, or is gone; delete this instance",
                permanent: true);
        }

        var folder = store.FolderOf(source.InstanceUid);
        if (source.SnapshotUid.Length > 0)
        {
            await disks.CloneAsync(folder, source.SnapshotUid, store.FolderOf(uid), image, cancellationToken);
            return;
        }

        using var holder = await _locks.EnterAsync(source.InstanceUid, cancellationToken);
        if (IsAlive(await vmm.GetAsync(new InstanceId(source.InstanceUid), cancellationToken)))
        {
            throw new DriverException(
                "CloneSourceRunning", $"instance {source.InstanceUid}, of which this one is a clone, runs; it is copied once it has stopped", permanent: false);
        }

        await disks.CloneAsync(folder, "", store.FolderOf(uid), image, cancellationToken);
    }
}
