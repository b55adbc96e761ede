using System.Text.Json;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Native;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>The file system of an OCI image as a raw disk. Never written to after it was made.</summary>
/// <param name="Digest">Of the manifest.</param>
/// <param name="Build">Of this making: another one of the same image has the same files in other places.</param>
internal sealed record RootFileSystem(string Digest, string Path, long VirtualSizeBytes, string Build, ImageDefaults Defaults);

/// <summary>
/// Root file systems of OCI images, made once per digest whoever waits, and removed, the one that was not used for longest first, when
/// all take more than the limit. Never one that a disk is made over.
/// </summary>
/// <remarks>
/// <c>{folder}/{hex}.raw</c>, with <c>{hex}.json</c> beside it, which comes first and goes last and whose time of change says when it
/// was last asked for. What is being made has another name, and is removed at the next start.
/// </remarks>
/// <param name="folder">"{data}/images/rootfs/sha256".</param>
/// <param name="limit">Bytes on disk; 0 means without limit.</param>
/// <param name="held">Digests of images that disks are made over; throws when nobody can tell.</param>
internal sealed partial class RootFileSystems(
    string folder,
    IImageTrees trees,
    RootFileSystemBuilder builder,
    long limit,
    Func<CancellationToken, Task<IReadOnlySet<string>>> held,
    TimeProvider time,
    IRandomSource random,
    ILogger<RootFileSystems> logger)
{
    private const string Disk = ".raw";
    private const string Description = ".json";
    private const string Unfinished = ".making";

    private readonly SharedWork<string> _builds = new();

    /// <summary>Made, and swept of what a killed agent left, before the first use.</summary>
    private readonly Lazy<string> _folder = new(() =>
    {
        Directory.CreateDirectory(folder, DiskFiles.Traversable);
        foreach (var file in Directory.EnumerateFiles(folder))
        {
            if (file.EndsWith(Unfinished, StringComparison.Ordinal) || file.EndsWith(WholeFile.TemporarySuffix, StringComparison.Ordinal)
                || (file.EndsWith(Description, StringComparison.Ordinal) && !File.Exists(Path.ChangeExtension(file, Disk))))
            {
                File.Delete(file);
            }
        }

        return folder;
    });

    /// <summary>The file system if it is here.</summary>
    public RootFileSystem? Find(string digest)
    {
        if (!ChainIds.IsDigest(digest))
        {
            return null;
        }

        var path = PathOf(digest, Disk);
        var description = PathOf(digest, Description);
        try
        {
            if (!File.Exists(path) || !File.Exists(description)
                || JsonSerializer.Deserialize(File.ReadAllBytes(description), DisksJson.Default.RootFileSystemRecord) is not { } record
                || new FileInfo(path).Length != record.VirtualSizeBytes)
            {
                return null;
            }

            File.SetLastWriteTimeUtc(description, time.GetUtcNow().UtcDateTime);
            return new RootFileSystem(digest, path, record.VirtualSizeBytes, record.Build, record.Defaults);
        }
        catch (Exception error) when (error is JsonException or FileNotFoundException)
        {
            // Damaged, or removed meanwhile: it is made again.
            return null;
        }
    }

    /// <exception cref="DriverException">ImageNotFound, ImageInvalid, DiskFull, RootFileSystemFailed, RuntimeUnavailable, ToolMissing, ToolTimedOut.</exception>
    public async Task<RootFileSystem> EnsureAsync(string digest, CancellationToken cancellationToken)
    {
        if (!ChainIds.IsDigest(digest))
        {
            throw new DriverException("ImageInvalid", $"\"{digest}\" is not the digest of an image", permanent: true);
        }

        for (var attempt = 1; ; attempt++)
        {
            if (Find(digest) is { } found)
            {
                return found;
            }

            if (attempt > 2)
            {
                throw new DriverException(
                    RootFileSystemBuilder.Failed, $"the root file system of {digest} was made and is not there; is something else at work in {folder}?", permanent: false);
            }

            await _builds.RunAsync(digest, shared => BuildAsync(digest, shared), cancellationToken);
        }
    }

    /// <summary>Removes what is over the limit and of no use.</summary>
    /// <returns>Digests of the images whose file systems were removed.</returns>
    public async Task<IReadOnlyList<string>> CollectAsync(CancellationToken cancellationToken)
    {
        if (limit <= 0)
        {
            return [];
        }

        var kept = new DirectoryInfo(_folder.Value).EnumerateFiles("*" + Description)
            .Select(file => (Digest: "sha256:" + Path.GetFileNameWithoutExtension(file.Name), Used: file.LastWriteTimeUtc))
            .Where(file => ChainIds.IsDigest(file.Digest))
            .OrderByDescending(file => file.Used)
            .Select(file => (file.Digest, file.Used, Size: DiskFiles.Allocated(PathOf(file.Digest, Disk))))
            .ToList();
        List<string> removed = [];
        var since = time.GetUtcNow().UtcDateTime - DiskLimits.CacheGrace;
        while (kept.Sum(file => file.Size) is var size && size > limit)
        {
            // Asked anew each time: a disk may have come meanwhile.
            var used = await held(cancellationToken);
            var victim = kept.FindLastIndex(file => file.Used <= since && !used.Contains(file.Digest));
            if (victim < 0)
            {
                LogNothingToRemove(logger, size, limit);
                break;
            }

            var digest = kept[victim].Digest;
            File.Delete(PathOf(digest, Disk));
            File.Delete(PathOf(digest, Description));
            LogRemoved(logger, digest, kept[victim].Used);
            removed.Add(digest);
            kept.RemoveAt(victim);
        }

        return removed;
    }

    private async Task BuildAsync(string digest, CancellationToken cancellationToken)
    {
        if (Find(digest) is not null)
        {
            return;
        }

        var build = random.NewUid();
        var unfinished = PathOf(digest, "." + build + Unfinished);
        var begun = time.GetTimestamp();
        long content;
        await using (var tree = await trees.OpenAsync(digest, cancellationToken))
        {
            var size = await builder.BuildAsync(tree, unfinished, build, cancellationToken);
            try
            {
                // Without the disk the description says nothing; the disk without it would be of no use.
                File.Delete(PathOf(digest, Disk));
                WholeFile.Write(
                    PathOf(digest, Description),
                    JsonSerializer.SerializeToUtf8Bytes(new RootFileSystemRecord(size, build, tree.Defaults), DisksJson.Default.RootFileSystemRecord),
                    DiskFiles.OwnerOnly,
                    durable: true);
                File.Move(unfinished, PathOf(digest, Disk));
                LinuxFile.SyncDirectory(folder);
            }
            catch (IOException error)
            {
                File.Delete(unfinished);
                throw DriverException.IsFullDisk(error)
                    ? DriverException.OfFullDisk(error)
                    : new DriverException(RootFileSystemBuilder.Failed, $"the root file system of {digest} cannot be kept: {error.Message}", permanent: false, error);
            }

            content = tree.Bytes;
        }

        var took = time.GetElapsedTime(begun);
        LogMade(logger, digest, content, took);
        await CollectAsync(cancellationToken);
    }

    private string PathOf(string digest, string suffix) => Path.Combine(_folder.Value, digest[7..] + suffix);

    [LoggerMessage(Level = LogLevel.Information, Message = "Made the root file system of {Digest}, {Bytes} bytes, in {Took}")]
    private static partial void LogMade(ILogger logger, string digest, long bytes, TimeSpan took);

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed the root file system of {Digest}, last used {LastUsed:u}, to keep them under their limit")]
    private static partial void LogRemoved(ILogger logger, string digest, DateTime lastUsed);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Root file systems take {Size} bytes, more than their limit ({Limit}), and all are in use")]
    private static partial void LogNothingToRemove(ILogger logger, long size, long limit);
}

/// <summary>What is kept beside a root file system.</summary>
internal sealed record RootFileSystemRecord(long VirtualSizeBytes, string Build, ImageDefaults Defaults);
