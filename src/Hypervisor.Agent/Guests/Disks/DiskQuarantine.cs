using System.Text.Json;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Local disks whose instance is no longer on this node: kept until a person deletes them.</summary>
internal sealed record QuarantinedDisks(string Uid, long Epoch, string Name, string Project, DateTimeOffset Since)
{
    /// <summary>Under which they are listed and deleted.</summary>
    public string Key => $"{Uid}-{Epoch}";
}

/// <param name="directory">"{data}/quarantine".</param>
internal sealed class DiskQuarantine(string directory, TimeProvider time)
{
    private const string Description = "instance.json";

    /// <summary>
    /// Moves an instance's local disks here, and removes its ephemeral ones; nothing when it has none. May be repeated after a crash at any
    /// point in it.
    /// </summary>
    /// <param name="folder">The instance's, on the same file system.</param>
    public void Take(string folder, InstanceId id, Epoch epoch, string name, string project)
    {
        var place = Path.Combine(directory, $"{id.Value}-{epoch.Value}");
        if (Directory.Exists(DiskFolder.Disks(folder)))
        {
            var set = DiskFolder.Load(folder);
            var precious = new DiskSet([.. set.Disks.Where(disk => disk is { Made: true, Kind: DiskKind.Local })]);
            if (precious.Disks.Count == 0)
            {
                InstanceDisks.Remove(folder);
                return;
            }

            DiskFolder.Save(folder, precious);
            DiskFolder.RemoveStrays(folder, precious);
            Directory.CreateDirectory(place, DiskFiles.OwnerOnly | UnixFileMode.UserExecute);
            var description = new QuarantinedDisks(id.Value, epoch.Value, name, project, time.GetUtcNow());
            WholeFile.Write(
                Path.Combine(place, Description),
                JsonSerializer.SerializeToUtf8Bytes(description, DisksJson.Default.QuarantinedDisks),
                DiskFiles.OwnerOnly,
                durable: true);
            Directory.Move(DiskFolder.Disks(folder), DiskFolder.Disks(place));
        }

        // Afterwards: as long as it is in either place the images that the disks lie over are known to be held.
        if (File.Exists(DiskFolder.Record(folder)))
        {
            File.Move(DiskFolder.Record(folder), DiskFolder.Record(place));
            LinuxFile.SyncDirectory(place);
            LinuxFile.SyncDirectory(folder);
        }
    }

    /// <summary>Folders of what is here, for <see cref="InstanceDisks.Held"/>.</summary>
    public IEnumerable<string> Folders() => Directory.Exists(directory) ? Directory.EnumerateDirectories(directory) : [];

    public IReadOnlyList<(QuarantinedDisks Disks, long Bytes)> List() =>
    [
        .. Folders()
            .Select(folder => (Path: Path.Combine(folder, Description), Folder: folder))
            .Where(place => File.Exists(place.Path))
            .Select(place => (JsonSerializer.Deserialize(File.ReadAllBytes(place.Path), DisksJson.Default.QuarantinedDisks)!, InstanceDisks.SizeOnDisk(place.Folder)))
            .OrderBy(place => place.Item1.Since),
    ];

    /// <summary>For good; nothing when there is none.</summary>
    /// <param name="key"><see cref="QuarantinedDisks.Key"/> of one that is listed; anything else touches nothing.</param>
    public bool Delete(string key)
    {
        // Looked for by name, not made into a path: the key is a user's word.
        if (Folders().FirstOrDefault(folder => Path.GetFileName(folder) == key) is not { } place)
        {
            return false;
        }

        Directory.Delete(place, recursive: true);
        return true;
    }
}
