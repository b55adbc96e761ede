using System.Globalization;
using Containerd.Services.Containers.V1;
using Containerd.Services.Images.V1;
using Containerd.Services.Snapshots.V1;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Guests.Images;
using ImageRecord = Containerd.Services.Images.V1.Image;

namespace Hypervisor.Agent.Images;

/// <summary>
/// Keeps what images take on disk under a limit: those that no container and no disk was made from go, the one that was not used for
/// longest first. Never one in use, and none that was asked for in the last minutes: its container may not exist yet.
/// </summary>
/// <param name="limit">Bytes of blobs, disk images and unpacked layers, each counted once; 0 means without limit.</param>
/// <param name="disks">Null where there is no type that boots a disk.</param>
internal sealed partial class ImageCache(
    ContainerdClient client, ImageStore store, ImageUse use, long limit, TimeProvider time, ILogger<ImageCache> logger, DiskImageStore? disks = null)
{
    /// <summary>Survives a restart of the agent; written when images are looked at, not when they are used.</summary>
    private const string LastUsed = "hypervisor.zixiao/last-used";

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(ContainerdLimits.CacheLook, time);
        while (limit > 0 && await timer.WaitForNextTickAsync(cancellationToken))
        {
            try
            {
                await CollectAsync(cancellationToken);
            }
            catch (Exception exception) when (exception is RpcException or IOException or UnauthorizedAccessException or Drivers.DriverException)
            {
                // While it stops, a call that was cancelled is no news.
                cancellationToken.ThrowIfCancellationRequested();
                LogFailed(logger, exception);
            }
        }
    }

    /// <summary>One look.</summary>
    /// <returns>Digests of the images that were removed.</returns>
    /// <exception cref="RpcException">containerd refused.</exception>
    public async Task<IReadOnlyList<string>> CollectAsync(CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        var containers = await OfContainerdAsync(now, cancellationToken);
        var images = containers ?? [];
        var onDisk = disks is null ? [] : await disks.ListAsync(cancellationToken);
        use.Keep(images.Select(image => image.Digest).ToHashSet(StringComparer.Ordinal), now - ContainerdLimits.CacheGrace);
        var sizes = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var image in images)
        {
            image.Parts = await PartsAsync(image.Digest, sizes, cancellationToken);
        }

        foreach (var image in onDisk)
        {
            foreach (var part in image.Parts)
            {
                sizes[part.Digest] = part.Size;
            }

            images.Add(new CachedImage("", image.Digest, image.LastUsed) { Parts = [.. image.Parts.Select(part => part.Digest)], Disk = true });
        }

        List<string> removed = [];
        var kept = images.OrderByDescending(image => image.LastUsed).ToList();
        while (SizeOf(kept, sizes) is var size && size > limit)
        {
            // Asked anew each time: a container may have come meanwhile.
            var held = containers is null ? [] : await HeldAsync(cancellationToken);
            var disksHeld = disks is null ? null : await disks.HeldAsync(cancellationToken);
            var victim = kept.LastOrDefault(image => (image.Disk ? disksHeld?.Contains(image.Digest) == false : !held.Contains(image.Name)) && now - (use.LastOf(image.Digest) ?? image.LastUsed) >= ContainerdLimits.CacheGrace);
            if (victim is null)
            {
                LogNothingToRemove(logger, size, limit);
                break;
            }

            if (victim.Disk)
            {
                await disks!.RemoveAsync(victim.Digest, cancellationToken);
                kept.Remove(victim);
                removed.Add(victim.Digest);
                LogRemoved(logger, victim.Digest, victim.LastUsed);
                continue;
            }

            store.Forget(victim.Digest);
            await client.Images.DeleteAsync(new DeleteImageRequest { Name = victim.Name, Sync = true }, client.Call(ContainerdLimits.Runtime, cancellationToken));
            store.Forget(victim.Digest);
            kept.Remove(victim);
            removed.Add(victim.Digest);
            LogRemoved(logger, victim.Digest, victim.LastUsed);
        }

        return removed;
    }

    private static long SizeOf(IEnumerable<CachedImage> images, Dictionary<string, long> sizes) =>
        images.SelectMany(image => image.Parts).Distinct(StringComparer.Ordinal).Sum(part => sizes[part]);

    /// <returns>Null while containerd does not answer, where there is more than containerd to look after.</returns>
    private async Task<List<CachedImage>?> OfContainerdAsync(DateTimeOffset now, CancellationToken cancellationToken)
    {
        try
        {
            return await ImagesAsync(now, cancellationToken);
        }
        catch (RpcException exception) when (disks is not null && exception.StatusCode is StatusCode.Unavailable or StatusCode.DeadlineExceeded)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return null;
        }
    }

    private async Task<List<CachedImage>> ImagesAsync(DateTimeOffset now, CancellationToken cancellationToken)
    {
        List<CachedImage> images = [];
        foreach (var record in (await client.Images.ListAsync(new ListImagesRequest(), client.Call(cancellationToken))).Images)
        {
            if (record.Name != ImageStore.NameOf(record.Target.Digest))
            {
                continue;
            }

            var noted = record.Labels.TryGetValue(LastUsed, out var text)
                && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var label) ? label
                : record.CreatedAt?.ToDateTimeOffset() ?? now;
            var last = use.LastOf(record.Target.Digest) is { } own && own > noted ? own : noted;
            if (last > noted)
            {
                await NoteAsync(record, last, cancellationToken);
            }

            images.Add(new CachedImage(record.Name, record.Target.Digest, last));
        }

        return images;
    }

    private async Task NoteAsync(ImageRecord record, DateTimeOffset last, CancellationToken cancellationToken)
    {
        var update = new UpdateImageRequest
        {
            Image = new ImageRecord { Name = record.Name, Target = record.Target },
            UpdateMask = new FieldMask { Paths = { "labels." + LastUsed } },
        };
        update.Image.Labels[LastUsed] = last.ToString("O", CultureInfo.InvariantCulture);
        try
        {
            await client.Images.UpdateAsync(update, client.Call(cancellationToken));
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.NotFound)
        {
            // Gone meanwhile: nothing to note.
        }
    }

    /// <summary>Blobs and snapshots of an image, with what each takes.</summary>
    private async Task<IReadOnlyList<string>> PartsAsync(string digest, Dictionary<string, long> sizes, CancellationToken cancellationToken)
    {
        try
        {
            var manifest = ImageDescription.ParseManifest(await store.ReadAsync(digest, cancellationToken));
            var image = ImageDescription.ParseConfiguration(manifest, await store.ReadAsync(manifest.Config!.Digest, cancellationToken));
            foreach (var layer in manifest.Layers!.Append(manifest.Config))
            {
                sizes[layer.Digest] = layer.Size;
            }

            foreach (var chain in image.Chain)
            {
                sizes["snapshot " + chain] = (await client.Snapshots.UsageAsync(
                    new UsageRequest { Snapshotter = client.Snapshotter, Key = chain }, client.Call(cancellationToken))).Size;
            }

            return [.. manifest.Layers!.Append(manifest.Config).Select(layer => layer.Digest), .. image.Chain.Select(chain => "snapshot " + chain)];
        }
        catch (Exception exception) when (exception is InvalidDataException or RpcException { StatusCode: StatusCode.NotFound })
        {
            // Damaged: it takes what it takes, and is fetched anew when it is wanted.
            return [];
        }
    }

    private async Task<HashSet<string>> HeldAsync(CancellationToken cancellationToken) =>
        (await client.Containers.ListAsync(new ListContainersRequest(), client.Call(cancellationToken))).Containers
            .Select(container => container.Image).ToHashSet(StringComparer.Ordinal);

    private sealed record CachedImage(string Name, string Digest, DateTimeOffset LastUsed)
    {
        public IReadOnlyList<string> Parts { get; set; } = [];

        /// <summary>In the store of disk images rather than containerd's.</summary>
        public bool Disk { get; init; }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed image {Digest}, last used {LastUsed:u}, to keep images under their limit")]
    private static partial void LogRemoved(ILogger logger, string digest, DateTimeOffset lastUsed);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Images take {Size} bytes, more than images.cache_bytes ({Limit}), and all are in use")]
    private static partial void LogNothingToRemove(ILogger logger, long size, long limit);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Images could not be looked through; trying again later")]
    private static partial void LogFailed(ILogger logger, Exception exception);
}

/// <summary>Runs the cache within the host.</summary>
internal sealed class ImageCacheHost(ImageCache cache) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => cache.RunAsync(stoppingToken);
}
