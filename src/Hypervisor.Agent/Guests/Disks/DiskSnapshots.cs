using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>A disk of a running machine, and the overlay that the VMM shall go on with (its file exists, and is empty).</summary>
internal readonly record struct SnapshotStep(string Disk, string Active, string Overlay, DiskFormat Format);

/// <summary>
/// Snapshots of disks. That of a qcow2 is its file, to which nothing is written any more, for the machine goes on with an overlay; that of a
/// raw disk is a copy. All disks of an instance are taken together: one write of the record decides.
/// </summary>
/// <remarks>
/// Unless a method says otherwise the machine does not run, or (<see cref="PrepareAsync"/>) is told by its VMM. Files that no snapshot needs any
/// more are merged when the instance is started next, not while a machine has them open.
/// </remarks>
internal sealed class DiskSnapshots(QemuImg qemuImg)
{
    /// <summary>The machine does not run. Nothing when the snapshot is there.</summary>
    public async Task CreateAsync(string folder, string uid, CancellationToken cancellationToken)
    {
        var set = DiskFolder.Load(folder);
        foreach (var disk in set.Disks.Where(disk => disk.Made && disk.Snapshot(uid) is null).ToList())
        {
            RequireSettled(disk);
            var (file, changed) = disk.NewFile();
            if (disk.Format == DiskFormat.Qcow2)
            {
                await OverlayAsync(folder, file, disk.Active, disk.SizeBytes, cancellationToken);
                set = set.With(Frozen(changed, uid, file));
            }
            else
            {
                await CopyAsync(folder, disk.Active, file, disk.SizeBytes, cancellationToken);
                set = set.With(changed with { Layers = [.. changed.Layers, new DiskLayer(file, Below: null, uid)] });
            }
        }

        DiskFolder.Save(folder, set);
    }

    /// <summary>
    /// While the machine runs: makes the overlays. The VMM then moves all disks onto them at once (QMP's transaction of blockdev-snapshot-sync
    /// with mode "existing"); if it did, <see cref="Commit"/>, if it certainly did not, <see cref="Abandon"/>. Without either the next start
    /// goes on with the overlays, which loses nothing that was written, and the snapshot is none.
    /// </summary>
    /// <exception cref="DriverException">SnapshotNeedsStop for raw disks.</exception>
    public async Task<IReadOnlyList<SnapshotStep>> PrepareAsync(string folder, string uid, CancellationToken cancellationToken)
    {
        var set = DiskFolder.Load(folder);
        List<SnapshotStep> steps = [];
        foreach (var disk in set.Disks.Where(disk => disk.Made && disk.Snapshot(uid) is null).ToList())
        {
            RequireSettled(disk);
            if (disk.Format != DiskFormat.Qcow2)
            {
                throw new DriverException("SnapshotNeedsStop", $"the disk \"{disk.Name}\" is raw, and cannot be frozen while it is written to; stop the instance first", permanent: true);
            }

            var (file, changed) = disk.NewFile();
            await OverlayAsync(folder, file, disk.Active, disk.SizeBytes, cancellationToken);
            set = set.With(changed with { Pending = new PendingSnapshot(uid, file) });
            steps.Add(new SnapshotStep(disk.Name, DiskFolder.PathOf(folder, disk.Active), DiskFolder.PathOf(folder, file), disk.Format));
        }

        DiskFolder.Save(folder, set);
        return steps;
    }

    public static void Commit(string folder, string uid)
    {
        var set = DiskFolder.Load(folder);
        foreach (var disk in set.Disks.Where(disk => disk.Pending?.Uid == uid).ToList())
        {
            set = set.With(Frozen(disk, uid, disk.Pending!.File));
        }

        DiskFolder.Save(folder, set);
    }

    public static void Abandon(string folder, string uid)
    {
        var set = DiskFolder.Load(folder);
        var pending = set.Disks.Where(disk => disk.Pending?.Uid == uid).ToList();
        foreach (var disk in pending)
        {
            set = set.With(disk with { Pending = null });
        }

        DiskFolder.Save(folder, set);
        pending.ForEach(disk => File.Delete(DiskFolder.PathOf(folder, disk.Pending!.File)));
    }

    /// <summary>Puts every disk that is in the snapshot back to it; what was written since is gone.</summary>
    /// <exception cref="DriverException">SnapshotNotFound.</exception>
    public async Task RestoreAsync(string folder, string uid, CancellationToken cancellationToken)
    {
        var set = DiskFolder.Load(folder);
        Require(set, uid);
        foreach (var disk in set.Disks.Where(disk => disk.Snapshot(uid) is not null).ToList())
        {
            RequireSettled(disk);
            var (file, changed) = disk.NewFile();
            var from = disk.Snapshot(uid)!.File;
            if (disk.Format == DiskFormat.Qcow2)
            {
                await OverlayAsync(folder, file, from, disk.SizeBytes, cancellationToken);
            }
            else
            {
                await CopyAsync(folder, from, file, disk.SizeBytes, cancellationToken);
            }

            var below = disk.Format == DiskFormat.Qcow2 ? from : null;
            set = set.With(changed with { Active = file, Layers = [.. changed.Layers, new DiskLayer(file, below, Snapshot: null)] });
        }

        Prune(folder, set);
    }

    /// <summary>Also while the machine runs: the snapshot is gone at once, its place on the disk perhaps at the next start only.</summary>
    public static void Delete(string folder, string uid)
    {
        var set = DiskFolder.Load(folder);
        foreach (var disk in set.Disks.Where(disk => disk.Snapshot(uid) is not null).ToList())
        {
            set = set.With(disk with { Layers = [.. disk.Layers.Select(layer => layer.Snapshot == uid ? layer with { Snapshot = null } : layer)] });
        }

        Prune(folder, set);
    }

    /// <summary>Uids of snapshots, with the bytes that each takes.</summary>
    public static IReadOnlyDictionary<string, long> List(string folder) => DiskFolder.Load(folder).Disks
        .SelectMany(disk => disk.Layers)
        .Where(layer => layer.Snapshot is not null)
        .GroupBy(layer => layer.Snapshot!)
        .ToDictionary(group => group.Key, group => group.Sum(layer => DiskFiles.Allocated(DiskFolder.PathOf(folder, layer.File))), StringComparer.Ordinal);

    /// <summary>
    /// Gives a new instance copies of another's disks, which depend on nothing of it. The other one may run when a snapshot is named. To be
    /// repeated until it is done, before the new instance's disks are ensured.
    /// </summary>
    /// <param name="uid">Of a snapshot; null for the disks as they are.</param>
    /// <exception cref="DriverException">SnapshotNotFound, DiskFull.</exception>
    public async Task CloneAsync(string folder, string? uid, string target, CancellationToken cancellationToken)
    {
        var source = DiskFolder.Load(folder);
        if (uid is not null)
        {
            Require(source, uid);
        }

        var set = DiskFolder.Load(target);
        Directory.CreateDirectory(DiskFolder.Disks(target), DiskFiles.Traversable);
        foreach (var disk in source.Disks.Where(disk => disk.Made))
        {
            if (set.Find(disk.Name) is { Made: true } || (uid is null ? disk.Layer(disk.Active) : disk.Snapshot(uid)) is not { } layer)
            {
                continue;
            }

            RequireSettled(disk);
            // Only what lies directly over an image can stay over it: a copy takes in what lies between.
            var alone = layer.Below is not null;
            var (file, copy) = (disk with { Made = false, Next = set.Find(disk.Name)?.Next ?? 1, Origin = alone ? null : disk.Origin }).NewFile();
            copy = copy with { Active = file, Layers = [new DiskLayer(file, Below: null, Snapshot: null)] };
            set = set.With(copy);
            DiskFolder.Save(target, set);
            var (from, to) = (DiskFolder.PathOf(folder, layer.File), DiskFolder.PathOf(target, file));
            await MakeAsync(to, async () =>
            {
                if (disk.Format == DiskFormat.Raw)
                {
                    await DiskFiles.CopyAsync(from, to, cancellationToken);
                    DiskFiles.Grow(to, disk.SizeBytes);
                }
                else
                {
                    await qemuImg.ConvertAsync(from, disk.Format, to, disk.Format, alone ? null : disk.BackingOf(layer), cancellationToken);
                    // It may have been grown since the snapshot.
                    await qemuImg.GrowAsync(to, disk.Format, disk.SizeBytes, cancellationToken);
                }
            });

            set = set.With(copy with { Made = true });
            DiskFolder.Save(target, set);
        }
    }

    /// <summary>
    /// Before a start: goes on with overlays of which nobody knows whether a machine wrote to them, and merges files that no snapshot needs.
    /// </summary>
    public async Task<DiskSet> SettleAsync(string folder, DiskSet set, string name, CancellationToken cancellationToken)
    {
        if (set.Find(name) is { Pending: { } pending } disk)
        {
            set = set.With(Frozen(disk, snapshot: null, pending.File));
            DiskFolder.Save(folder, set);
        }

        while (Mergeable(set.Find(name)!) is ({ } lower, { } upper))
        {
            disk = set.Find(name)!;
            try
            {
                await qemuImg.RebaseAsync(DiskFolder.PathOf(folder, upper.File), disk.BackingOf(lower), cancellationToken);
            }
            catch (DriverException full) when (full.Reason == DriverException.DiskFull)
            {
                // It works as it is, and is merged another time.
                return set;
            }

            DiskFiles.Sync(DiskFolder.PathOf(folder, upper.File));
            set = set.With(disk with
            {
                Layers = [.. disk.Layers.Where(layer => layer != lower).Select(layer => layer == upper ? layer with { Below = lower.Below } : layer)],
            });
            DiskFolder.Save(folder, set);
            File.Delete(DiskFolder.PathOf(folder, lower.File));
        }

        return set;
    }

    /// <summary>A file that nothing needs but the one file over it.</summary>
    private static (DiskLayer? Lower, DiskLayer? Upper) Mergeable(DiskRecord disk)
    {
        foreach (var layer in disk.Layers.Where(layer => layer.Snapshot is null && layer.File != disk.Active))
        {
            if (disk.Over(layer.File).Take(2).ToList() is [var only])
            {
                return (layer, only);
            }
        }

        return default;
    }

    /// <summary>Saves a record without the files that nothing needs, and removes those.</summary>
    private static void Prune(string folder, DiskSet set)
    {
        List<string> removed = [];
        foreach (var name in set.Disks.Select(disk => disk.Name).ToList())
        {
            while (set.Find(name)!.Layers.FirstOrDefault(layer => IsUseless(set.Find(name)!, layer)) is { } useless)
            {
                var disk = set.Find(name)!;
                set = set.With(disk with { Layers = [.. disk.Layers.Where(layer => layer != useless)] });
                removed.Add(useless.File);
            }
        }

        DiskFolder.Save(folder, set);
        removed.ForEach(file => File.Delete(DiskFolder.PathOf(folder, file)));
    }

    private static bool IsUseless(DiskRecord disk, DiskLayer layer) =>
        layer.Snapshot is null && layer.File != disk.Active && layer.File != disk.Pending?.File && !disk.Over(layer.File).Any();

    /// <summary>The active file becomes what it is to others, and the overlay the active file.</summary>
    private static DiskRecord Frozen(DiskRecord disk, string? snapshot, string overlay) => disk with
    {
        Active = overlay,
        Pending = null,
        Layers =
        [
            .. disk.Layers.Select(layer => layer.File == disk.Active ? layer with { Snapshot = snapshot } : layer),
            new DiskLayer(overlay, disk.Active, Snapshot: null),
        ],
    };

    private Task OverlayAsync(string folder, string file, string below, long size, CancellationToken cancellationToken)
    {
        var path = DiskFolder.PathOf(folder, file);
        return MakeAsync(path, () => qemuImg.CreateAsync(path, DiskFormat.Qcow2, size, new BackingFile(below, DiskFormat.Qcow2), cancellationToken));
    }

    private static Task CopyAsync(string folder, string from, string to, long size, CancellationToken cancellationToken)
    {
        var path = DiskFolder.PathOf(folder, to);
        return MakeAsync(path, async () =>
        {
            await DiskFiles.CopyAsync(DiskFolder.PathOf(folder, from), path, cancellationToken);
            DiskFiles.Grow(path, size);
        });
    }

    private static async Task MakeAsync(string path, Func<Task> make)
    {
        File.Delete(path);
        try
        {
            await make();
            File.SetUnixFileMode(path, DiskFiles.OwnerOnly);
            DiskFiles.Sync(path);
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            File.Delete(path);
            throw DriverException.OfFullDisk(error);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    private static void Require(DiskSet set, string uid)
    {
        if (!set.Disks.Any(disk => disk.Snapshot(uid) is not null))
        {
            throw new DriverException("SnapshotNotFound", $"the node has no snapshot {uid} of the instance's disks", permanent: true);
        }
    }

    private static void RequireSettled(DiskRecord disk)
    {
        if (disk.Pending is not null)
        {
            throw new DriverException(
                "SnapshotPending", $"an earlier snapshot of the disk \"{disk.Name}\" was broken off while the machine ran; stop and start the instance first", permanent: false);
        }
    }
}
