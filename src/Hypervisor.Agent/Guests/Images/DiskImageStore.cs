using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Native;
using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Agent.Guests.Images;

/// <summary>
/// Disk images and kernel sets on this node: files named by their digest, fetched once whoever waits, verified before they have
/// their name and never written to afterwards. An image is here when its manifest is, which comes last and goes first.
/// </summary>
/// <remarks><c>{data}/images/manifests/{digest}</c>, whose time of change says when it was last asked for, and <c>{data}/images/sha256/{digest}</c>.</remarks>
internal sealed class DiskImageStore
{
    private const UnixFileMode Traversable =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private readonly string _blobs;
    private readonly string _manifests;
    private readonly TimeProvider _time;
    private readonly IReadOnlyList<IImageHolder> _holders;
    private readonly BlobDownload _download;
    private readonly SharedWork<string> _images = new();
    private readonly SharedWork<string> _transfers = new();
    private readonly Lock _lock = new();

    /// <summary>Blobs of images that are being fetched, by how many of them.</summary>
    private readonly Dictionary<string, int> _wanted = new(StringComparer.Ordinal);

    /// <param name="holders">Who makes disks of images; with none, none is ever removed.</param>
    /// <exception cref="IOException">The folders cannot be made.</exception>
    public DiskImageStore(string dataDirectory, IControlPlane controlPlane, TimeProvider time, IEnumerable<IImageHolder> holders)
    {
        var images = Path.Combine(dataDirectory, "images");
        (_blobs, _manifests) = (Path.Combine(images, "sha256"), Path.Combine(images, "manifests"));
        (_time, _holders, _download) = (time, [.. holders], new BlobDownload(controlPlane, time));
        foreach (var folder in (ReadOnlySpan<string>)[images, _blobs, _manifests])
        {
            Directory.CreateDirectory(folder, Traversable);
            if (new DirectoryInfo(folder).LinkTarget is not null)
            {
                throw new IOException($"{folder} is a link; make it a directory of its own");
            }
        }

        RemoveLeftovers();
    }

    /// <summary>The image if all of it is here.</summary>
    /// <param name="digest">Of the manifest.</param>
    /// <exception cref="DriverException">ImageInvalid.</exception>
    public async Task<DiskImage?> FindAsync(string digest, CancellationToken cancellationToken)
    {
        if (!ChainIds.IsDigest(digest) || await ReadManifestAsync(digest, cancellationToken) is not { } manifest)
        {
            return null;
        }

        if (manifest.Layers!.Append(manifest.Config!).Any(blob => new FileInfo(BlobPath(blob.Digest)) is not { Exists: true } file || file.Length != blob.Size))
        {
            return null;
        }

        try
        {
            var image = DiskImageDocuments.Describe(digest, manifest, await ReadAsync(BlobPath(manifest.Config!.Digest), cancellationToken), BlobPath);
            Touch(digest);
            return image;
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (InvalidDataException error)
        {
            throw Invalid(digest, error);
        }
    }

    /// <summary>Makes the image present; one download for all who want it, or a part of it, meanwhile.</summary>
    /// <exception cref="DriverException">ImageNotFound, ImageInvalid, ImageUnavailable, DiskFull.</exception>
    public Task EnsureAsync(string digest, CancellationToken cancellationToken) =>
        _images.RunAsync(digest, shared => FetchAsync(digest, shared), cancellationToken);

    /// <summary>All that are here, damaged ones included.</summary>
    public async Task<IReadOnlyList<StoredDiskImage>> ListAsync(CancellationToken cancellationToken)
    {
        List<StoredDiskImage> images = [];
        foreach (var file in new DirectoryInfo(_manifests).EnumerateFiles())
        {
            var digest = "sha256:" + file.Name;
            if (ChainIds.IsDigest(digest))
            {
                images.Add(new StoredDiskImage(digest, file.LastWriteTimeUtc, await PartsAsync(digest, cancellationToken)));
            }
        }

        return images;
    }

    /// <summary>Digests of manifests that disks are made of; null when nobody knows, and nothing may be removed.</summary>
    public async Task<IReadOnlySet<string>?> HeldAsync(CancellationToken cancellationToken)
    {
        if (_holders.Count == 0)
        {
            return null;
        }

        HashSet<string> held = new(StringComparer.Ordinal);
        foreach (var holder in _holders)
        {
            held.UnionWith(await holder.HeldAsync(cancellationToken));
        }

        return held;
    }

    /// <summary>Removes an image, and what of it no other image names. The caller knows that nothing is made of it.</summary>
    public async Task RemoveAsync(string digest, CancellationToken cancellationToken)
    {
        var parts = await PartsAsync(digest, cancellationToken);
        File.Delete(ManifestPath(digest));
        LinuxFile.SyncDirectory(_manifests);
        HashSet<string> named = new((await ListAsync(cancellationToken)).SelectMany(image => image.Parts).Select(part => part.Digest), StringComparer.Ordinal);
        lock (_lock)
        {
            foreach (var part in parts.Where(part => !named.Contains(part.Digest) && !_wanted.ContainsKey(part.Digest)))
            {
                File.Delete(BlobPath(part.Digest));
            }
        }
    }

    private async Task FetchAsync(string digest, CancellationToken cancellationToken)
    {
        if (await FindAsync(digest, cancellationToken) is not null)
        {
            return;
        }

        // Under another name until the rest is here.
        var waiting = Path.Combine(_blobs, digest[7..]);
        List<string> wanted = [digest];
        Want(digest);
        try
        {
            await TransferAsync(digest, 0, cancellationToken);
            var manifest = DiskImageDocuments.ParseManifest(await ReadAsync(waiting, cancellationToken));
            foreach (var blob in manifest.Layers!.Append(manifest.Config!))
            {
                wanted.Add(blob.Digest);
                Want(blob.Digest);
                await TransferAsync(blob.Digest, blob.Size, cancellationToken);
            }

            DiskImageDocuments.Describe(digest, manifest, await ReadAsync(BlobPath(manifest.Config!.Digest), cancellationToken), BlobPath);
            File.Move(waiting, ManifestPath(digest), overwrite: true);
            Touch(digest);
            LinuxFile.SyncDirectory(_manifests);
        }
        catch (InvalidDataException error)
        {
            throw Invalid(digest, error);
        }
        finally
        {
            Unwant(wanted);
        }
    }

    private Task TransferAsync(string digest, long size, CancellationToken cancellationToken) => _transfers.RunAsync(
        digest,
        shared => new FileInfo(BlobPath(digest)) is { Exists: true } file && (size == 0 || file.Length == size)
            ? Task.CompletedTask
            : _download.FetchAsync(digest, size, BlobPath(digest), shared),
        cancellationToken);

    private async Task<ImageManifest?> ReadManifestAsync(string digest, CancellationToken cancellationToken)
    {
        try
        {
            return DiskImageDocuments.ParseManifest(await ReadAsync(ManifestPath(digest), cancellationToken));
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (InvalidDataException error)
        {
            throw Invalid(digest, error);
        }
    }

    private async Task<IReadOnlyList<ImageDescriptor>> PartsAsync(string digest, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadManifestAsync(digest, cancellationToken) is { } manifest ? [.. manifest.Layers!, manifest.Config!] : [];
        }
        catch (DriverException)
        {
            // Damaged: its parts are leftovers.
            return [];
        }
    }

    private static async Task<byte[]> ReadAsync(string path, CancellationToken cancellationToken)
    {
        await using var file = File.OpenRead(path);
        if (file.Length > DiskImageLimits.DocumentBytes)
        {
            throw new InvalidDataException($"a document has {file.Length} bytes; at most {DiskImageLimits.DocumentBytes} are read");
        }

        var content = new byte[file.Length];
        await file.ReadExactlyAsync(content, cancellationToken);
        return content;
    }

    private void Touch(string digest)
    {
        try
        {
            File.SetLastWriteTimeUtc(ManifestPath(digest), _time.GetUtcNow().UtcDateTime);
        }
        catch (FileNotFoundException)
        {
            // Removed meanwhile: whoever wants it fetches it again.
        }
    }

    private void Want(string digest)
    {
        lock (_lock)
        {
            _wanted[digest] = _wanted.GetValueOrDefault(digest) + 1;
        }
    }

    private void Unwant(List<string> digests)
    {
        lock (_lock)
        {
            foreach (var digest in digests)
            {
                if (--_wanted[digest] == 0)
                {
                    _wanted.Remove(digest);
                }
            }
        }
    }

    /// <summary>At start, when nothing is under way: old unfinished transfers, and old files that no manifest names.</summary>
    private void RemoveLeftovers()
    {
        HashSet<string> named = new(StringComparer.Ordinal);
        foreach (var manifest in Directory.EnumerateFiles(_manifests))
        {
            try
            {
                var parsed = DiskImageDocuments.ParseManifest(File.ReadAllBytes(manifest));
                named.UnionWith(parsed.Layers!.Append(parsed.Config!).Select(blob => blob.Digest[7..]));
            }
            catch (InvalidDataException)
            {
                // It names nothing, and is fetched again when it is wanted.
            }
        }

        var since = _time.GetUtcNow().UtcDateTime - DiskImageLimits.Leftover;
        foreach (var file in new DirectoryInfo(_blobs).EnumerateFiles().Where(file => !named.Contains(file.Name) && file.LastWriteTimeUtc < since))
        {
            file.Delete();
        }
    }

    private static DriverException Invalid(string digest, InvalidDataException error) =>
        new("ImageInvalid", $"the image {digest} cannot be used: {error.Message}", permanent: true, error);

    private string BlobPath(string digest) => Path.Combine(_blobs, digest[7..]);

    private string ManifestPath(string digest) => Path.Combine(_manifests, digest[7..]);
}

/// <summary>An image as the store sees it.</summary>
/// <param name="LastUsed">When it was last asked for.</param>
internal sealed record StoredDiskImage(string Digest, DateTimeOffset LastUsed, IReadOnlyList<ImageDescriptor> Parts);
