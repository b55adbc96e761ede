using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>
/// The disks of instances: made once, grown, never replaced while they are precious, removed with the instance. Called for one instance
/// at a time, and only while its machine does not run.
/// </summary>
/// <remarks>
/// The record (<see cref="DiskSet"/>) is written before a file is made and again when the file is whole and durable. So a file that is
/// missing is either one that never was, or one that was lost.
/// </remarks>
internal sealed partial class InstanceDisks(QemuImg qemuImg, DiskSnapshots snapshots, ILogger<InstanceDisks> logger)
{
    /// <summary>A local disk that was there is not there any more.</summary>
    public const string Lost = "DiskLost";

    private readonly EmptyOverlays _overlays = new(qemuImg);

    /// <summary>Makes what is missing of the disks that an instance shall have, and makes larger what shall be larger.</summary>
    /// <param name="folder">Of the instance alone; it exists.</param>
    /// <param name="abilities">Of the VMM: without <see cref="VmmAbilities.Qcow2"/> every disk is raw.</param>
    /// <returns>In the guest's order, the root disk first. Seeds and config drives are not among them.</returns>
    /// <exception cref="DriverException">DiskInvalid, DiskLost, DiskRecordLost, DiskFull, DiskFailed, ToolMissing, ToolTimedOut.</exception>
    public async Task<IReadOnlyList<GuestDisk>> EnsureAsync(
        string folder, InstanceSpec spec, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        var plan = DiskPlan.Of(spec, image);
        var set = DiskFolder.Load(folder);
        try
        {
            Directory.CreateDirectory(DiskFolder.Disks(folder), DiskFiles.Traversable);
            foreach (var wanted in plan)
            {
                set = await EnsureAsync(folder, set, wanted, image, abilities, cancellationToken);
            }

            DiskFolder.RemoveStrays(folder, set);
            return [.. plan.Select(wanted => set.Find(wanted.Name)!).Select(disk => new GuestDisk(disk.Name, DiskFolder.PathOf(folder, disk.Active), disk.Format))];
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            throw DriverException.OfFullDisk(error);
        }
    }

    /// <summary>Removes all disks and their record; nothing when there are none.</summary>
    public static void Remove(string folder)
    {
        // The record last: without it, disks would be taken for ones that nobody knows.
        if (Directory.Exists(DiskFolder.Disks(folder)))
        {
            Directory.Delete(DiskFolder.Disks(folder), recursive: true);
        }

        File.Delete(DiskFolder.Record(folder));
    }

    /// <summary>Bytes that an instance's disks, snapshots included, take on the node.</summary>
    public static long SizeOnDisk(string folder) => Directory.Exists(DiskFolder.Disks(folder))
        ? Directory.EnumerateFiles(DiskFolder.Disks(folder)).Sum(DiskFiles.Allocated)
        : 0;

    /// <summary>Whether an instance has a disk that must not be lost.</summary>
    public static bool HasPrecious(string folder) => DiskFolder.Load(folder).Disks.Any(disk => disk is { Made: true, Kind: DiskKind.Local });

    /// <summary>Digests of the images that disks lie over.</summary>
    /// <param name="folders">Of instances, and of what is in quarantine.</param>
    /// <exception cref="DriverException">DiskRecordLost: nobody can tell, so no image may be removed.</exception>
    public static IReadOnlySet<string> Held(IEnumerable<string> folders) => folders
        .SelectMany(folder => DiskFolder.Load(folder).Disks)
        .Where(disk => disk.Format == DiskFormat.Qcow2 && disk.Origin is not null)
        .Select(disk => disk.Origin!.Digest)
        .ToHashSet(StringComparer.Ordinal);

    private async Task<DiskSet> EnsureAsync(
        string folder, DiskSet set, PlannedDisk wanted, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        if (set.Find(wanted.Name) is { Made: true } existing)
        {
            if (Missing(folder, existing, image) is { } what)
            {
                if (wanted.Kind == DiskKind.Local || existing.Kind == DiskKind.Local)
                {
                    throw new DriverException(
                        Lost,
                        $"the local disk \"{existing.Name}\" cannot be used: {what}. It is never replaced by a fresh one: put it back, or delete the instance.",
                        permanent: true);
                }

                LogReplaced(logger, existing.Name, folder, what);
                set = set.Without(existing.Name);
                DiskFolder.Save(folder, set);
                DiskFolder.RemoveStrays(folder, set);
            }
            else
            {
                return await KeepAsync(folder, set, existing, wanted, abilities, cancellationToken);
            }
        }

        return await MakeAsync(folder, set, wanted, image, abilities, cancellationToken);
    }

    /// <summary>Null when all of a disk is there.</summary>
    private static string? Missing(string folder, DiskRecord disk, GuestImage image)
    {
        if (disk.Chain().FirstOrDefault(layer => !File.Exists(DiskFolder.PathOf(folder, layer.File))) is { } missing)
        {
            return $"{DiskFolder.PathOf(folder, missing.File)} is gone";
        }

        if (disk.Origin is not { } origin)
        {
            return null;
        }

        if (origin.Digest != image.Digest)
        {
            return disk.Kind == DiskKind.Local ? null : $"it was made of {origin.Digest}, and the instance's image is {image.Digest}";
        }

        return disk.Format != DiskFormat.Qcow2 || (origin.Build == image.Build && File.Exists(origin.Path))
            ? null
            : $"the file of its image that it lies over, {origin.Path}, is gone or was made anew";
    }

    private async Task<DiskSet> KeepAsync(
        string folder, DiskSet set, DiskRecord disk, PlannedDisk wanted, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        if (disk.Format == DiskFormat.Qcow2 && !abilities.HasFlag(VmmAbilities.Qcow2))
        {
            throw new DriverException(
                "DiskFormatUnsupported", $"the disk \"{disk.Name}\" is a qcow2, which the driver of this node cannot use; use a driver based on QEMU", permanent: true);
        }

        if (wanted.SizeBytes > 0 && wanted.SizeBytes < disk.SizeBytes)
        {
            throw new DriverException(
                "DiskInvalid", $"{wanted.Field}.size_bytes is {wanted.SizeBytes}, and the disk has {disk.SizeBytes} already; disks only grow", permanent: true);
        }

        set = await snapshots.SettleAsync(folder, set, disk.Name, cancellationToken);
        disk = set.Find(disk.Name)!;
        var kept = disk with { Kind = wanted.Kind, SizeBytes = Math.Max(disk.SizeBytes, wanted.SizeBytes) };
        if (kept.SizeBytes > disk.SizeBytes)
        {
            // Nothing when it was done before a crash.
            await qemuImg.GrowAsync(DiskFolder.PathOf(folder, disk.Active), disk.Format, kept.SizeBytes, cancellationToken);
            DiskFiles.Sync(DiskFolder.PathOf(folder, disk.Active));
        }

        if (kept != disk)
        {
            set = set.With(kept);
            DiskFolder.Save(folder, set);
        }

        return set;
    }

    private async Task<DiskSet> MakeAsync(
        string folder, DiskSet set, PlannedDisk wanted, GuestImage image, VmmAbilities abilities, CancellationToken cancellationToken)
    {
        var format = abilities.HasFlag(VmmAbilities.Qcow2) ? DiskFormat.Qcow2 : DiskFormat.Raw;
        var origin = wanted.Name == DiskPlan.Root ? new DiskOrigin(image.Digest, image.Build, image.Path, image.Format) : null;
        var size = DiskPlan.SizeOf(wanted, image);
        var (file, disk) = new DiskRecord(wanted.Name, wanted.Kind, format, size, Made: false, "", set.Find(wanted.Name)?.Next ?? 1, [], origin).NewFile();
        disk = disk with { Active = file, Layers = [new DiskLayer(file, Below: null, Snapshot: null)] };
        set = set.With(disk);
        DiskFolder.Save(folder, set);
        var path = DiskFolder.PathOf(folder, file);
        File.Delete(path);
        try
        {
            await MakeAsync(path, disk, cancellationToken);
            File.SetUnixFileMode(path, DiskFiles.OwnerOnly);
            DiskFiles.Sync(path);
        }
        catch
        {
            File.Delete(path);
            throw;
        }

        set = set.With(disk with { Made = true });
        DiskFolder.Save(folder, set);
        return set;
    }

    private async Task MakeAsync(string path, DiskRecord disk, CancellationToken cancellationToken)
    {
        if (disk.Format == DiskFormat.Qcow2 && disk.BackingOf(disk.Layers[0]) is { } backing)
        {
            await _overlays.CreateAsync(path, disk.SizeBytes, backing, cancellationToken);
        }
        else if (disk.Format == DiskFormat.Qcow2)
        {
            await qemuImg.CreateAsync(path, DiskFormat.Qcow2, disk.SizeBytes, backing: null, cancellationToken);
        }
        else if (disk.Origin is not { } origin)
        {
            DiskFiles.Create(path, disk.SizeBytes);
        }
        else if (origin.Format == DiskFormat.Raw)
        {
            await DiskFiles.CopyAsync(origin.Path, path, cancellationToken);
            DiskFiles.Grow(path, disk.SizeBytes);
        }
        else
        {
            await qemuImg.ConvertAsync(origin.Path, origin.Format, path, DiskFormat.Raw, backing: null, cancellationToken);
            DiskFiles.Grow(path, disk.SizeBytes);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The ephemeral disk {Name} in {Folder} is made anew: {What}")]
    private static partial void LogReplaced(ILogger logger, string name, string folder, string what);
}
