using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Images;

/// <summary>Removes blobs that nobody can ask for any more.</summary>
internal sealed partial class ImageCollector(ClusterState state, BlobStore blobs, TimeProvider time, ILogger<ImageCollector> logger)
{
    /// <summary>Collects at start and now and then, once the view is loaded.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await state.WaitUntilLoadedAsync(cancellationToken);
        using var timer = new PeriodicTimer(Limits.Images.CollectionInterval, time);
        do
        {
            Collect();
        }
        while (await timer.WaitForNextTickAsync(cancellationToken));
    }

    /// <summary>One collection. Without a view nothing is known to be garbage, and nothing is removed.</summary>
    public void Collect()
    {
        if (!state.Loaded)
        {
            return;
        }

        try
        {
            var removed = blobs.Collect(Named);
            if (removed > 0)
            {
                LogRemoved(logger, removed);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            LogFailed(logger, exception);
        }
    }

    private HashSet<string> Named()
    {
        var view = state.View;
        HashSet<string> named = new(StringComparer.Ordinal);
        foreach (var image in view.Images)
        {
            named.UnionWith(image.Record.BlobDigests);
        }

        // A name may have been given to newer content since; instances keep what they were created with.
        foreach (var instance in view.Instances)
        {
            if (ImageDigest.TryParse(instance.Spec.ImageDigest, out var digest) && named.Add(digest.Value))
            {
                named.UnionWith(BlobsOf(digest));
            }
        }

        return named;
    }

    private IEnumerable<string> BlobsOf(ImageDigest manifestDigest)
    {
        using var stream = blobs.OpenRead(manifestDigest);
        if (stream is null || stream.Length > Limits.Images.JsonBytes)
        {
            return [];
        }

        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        try
        {
            var manifest = OciJson.Parse(content, OciJson.Default.OciManifest, "manifest");
            return (manifest.Layers ?? []).Append(manifest.Config).Select(descriptor => descriptor?.Digest).OfType<string>();
        }
        catch (InvalidImageException)
        {
            // The digest is of something else than a manifest: it names nothing further.
            return [];
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed {Count} image blobs that nothing uses")]
    private static partial void LogRemoved(ILogger logger, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Image blobs could not be collected; trying again later")]
    private static partial void LogFailed(ILogger logger, Exception exception);
}
