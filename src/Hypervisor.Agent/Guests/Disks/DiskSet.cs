using System.Text.Json;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>All disks of an instance on this node, as they are.</summary>
internal sealed record DiskSet(IReadOnlyList<DiskRecord> Disks)
{
    public DiskRecord? Find(string name) => Disks.FirstOrDefault(disk => disk.Name == name);

    public DiskSet With(DiskRecord disk) =>
        Find(disk.Name) is null
            ? new DiskSet([.. Disks, disk])
            : new DiskSet([.. Disks.Select(other => other.Name == disk.Name ? disk : other)]);

    public DiskSet Without(string name) => new([.. Disks.Where(disk => disk.Name != name)]);
}

/// <summary>One disk. Its files form a tree: each qcow2 shows what it does not hold itself from the one below it.</summary>
/// <param name="Made">It was whole once: from then on it is never replaced by a fresh one.</param>
/// <param name="Active">The file that a machine writes to.</param>
/// <param name="Next">Number of the next file, so that no name is used twice.</param>
/// <param name="Origin">What the lowest files of a root disk were made of; for qcow2, what they lie over.</param>
internal sealed record DiskRecord(
    string Name,
    DiskKind Kind,
    DiskFormat Format,
    long SizeBytes,
    bool Made,
    string Active,
    int Next,
    IReadOnlyList<DiskLayer> Layers,
    DiskOrigin? Origin)
{
    /// <summary>A snapshot that a running machine was asked for, and whose answer is not known yet.</summary>
    public PendingSnapshot? Pending { get; init; }

    public DiskLayer? Layer(string file) => Layers.FirstOrDefault(layer => layer.File == file);

    public DiskLayer? Snapshot(string uid) => Layers.FirstOrDefault(layer => layer.Snapshot == uid);

    public IEnumerable<DiskLayer> Over(string file) => Layers.Where(layer => layer.Below == file);

    /// <summary>The name of a file that does not exist yet, and the record that remembers having given it.</summary>
    public (string File, DiskRecord Disk) NewFile() =>
        ($"{Name}-{Next}.{(Format == DiskFormat.Qcow2 ? "qcow2" : "raw")}", this with { Next = Next + 1 });

    /// <summary>What a layer lies over, as its qcow2 names it: others of the same folder by name alone, so that the folder may be moved.</summary>
    public BackingFile? BackingOf(DiskLayer layer) => layer.Below is { } below
        ? new BackingFile(below, DiskFormat.Qcow2)
        : Format == DiskFormat.Qcow2 && Origin is { } origin ? new BackingFile(origin.Path, origin.Format) : null;

    /// <summary>From the active file downwards.</summary>
    public IEnumerable<DiskLayer> Chain()
    {
        // Bounded, should a damaged record go round in circles.
        var layer = Layer(Active);
        for (var depth = 0; layer is not null && depth <= Layers.Count; depth++)
        {
            yield return layer;
            layer = layer.Below is { } below ? Layer(below) : null;
        }
    }
}

/// <param name="File">In the instance's folder of disks.</param>
/// <param name="Below">Another file there; null for one that lies over the disk's origin, or over nothing.</param>
/// <param name="Snapshot">Uid of the snapshot that is this file: nothing writes to it.</param>
internal sealed record DiskLayer(string File, string? Below, string? Snapshot);

/// <param name="File">The overlay that the machine was to go on with.</param>
internal sealed record PendingSnapshot(string Uid, string File);

/// <param name="Digest">Of the image's manifest.</param>
/// <param name="Build">See <see cref="GuestImage.Build"/>.</param>
internal sealed record DiskOrigin(string Digest, string Build, string Path, DiskFormat Format);

/// <summary>Where an instance's disks and what is known of them lie in its folder.</summary>
internal static class DiskFolder
{
    private const string RecordName = "disks.json";

    public static string Disks(string folder) => Path.Combine(folder, "disks");

    public static string Record(string folder) => Path.Combine(folder, RecordName);

    public static string PathOf(string folder, string file) => Path.Combine(Disks(folder), file);

    /// <summary>Empty for an instance that has no disks yet.</summary>
    /// <exception cref="DriverException">DiskRecordLost: there may be disks, and nobody knows what they are.</exception>
    public static DiskSet Load(string folder)
    {
        var path = Record(folder);
        if (!File.Exists(path))
        {
            return Directory.Exists(Disks(folder)) && Directory.EnumerateFileSystemEntries(Disks(folder)).Any()
                ? throw Lost(folder, "is not there, but disks are")
                : new DiskSet([]);
        }

        try
        {
            return new FileInfo(path).Length <= DiskLimits.RecordBytes
                && JsonSerializer.Deserialize(File.ReadAllBytes(path), DisksJson.Default.DiskSet) is { } set
                && set.Disks.All(disk => disk.Layers.All(IsInside))
                    ? set
                    : throw Lost(folder, "is none");
        }
        catch (JsonException error)
        {
            throw Lost(folder, $"cannot be read ({error.Message})");
        }
    }

    public static void Save(string folder, DiskSet set) =>
        WholeFile.Write(Record(folder), JsonSerializer.SerializeToUtf8Bytes(set, DisksJson.Default.DiskSet), DiskFiles.OwnerOnly, durable: true);

    /// <summary>Files that no disk has: of attempts that were broken off.</summary>
    public static void RemoveStrays(string folder, DiskSet set)
    {
        HashSet<string> known = [.. set.Disks.SelectMany(disk => disk.Layers.Select(layer => layer.File).Append(disk.Pending?.File ?? ""))];
        foreach (var path in Directory.EnumerateFiles(Disks(folder)).Where(path => !known.Contains(Path.GetFileName(path))))
        {
            File.Delete(path);
        }
    }

    private static bool IsInside(DiskLayer layer) => layer.File.Length > 0 && layer.File[0] != '.' && !layer.File.Contains('/', StringComparison.Ordinal);

    private static DriverException Lost(string folder, string how) => new(
        "DiskRecordLost",
        $"the record of the instance's disks, {Record(folder)}, {how}; nothing is started over disks that nobody knows. Put the record back, or delete the instance.",
        permanent: true);
}
