using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;

namespace Hypervisor.Server.Images.Registries;

/// <summary>Manifest and configuration of an image at a registry, judged as those of an archive are.</summary>
/// <param name="Layers">In order; one may occur twice.</param>
/// <param name="DiffIds">What each layer unpacks to.</param>
internal sealed record RemoteImage(
    ImageDigest Digest, byte[] Manifest, ImageDigest ConfigDigest, byte[] ConfigBytes, OciConfig Config, IReadOnlyList<RemoteLayer> Layers,
    IReadOnlyList<ImageDigest> DiffIds)
{
    public IReadOnlyList<ImageDigest> Blobs { get; } = [.. new[] { Digest, ConfigDigest }.Concat(Layers.Select(layer => layer.Digest)).Distinct()];

    public long SizeBytes { get; } = Manifest.Length + ConfigBytes.Length + Layers.DistinctBy(layer => layer.Digest).Sum(layer => layer.Size);
}

internal sealed record RemoteLayer(ImageDigest Digest, long Size, CompressionKind Compression);

/// <summary>Looks images up at their registries.</summary>
internal sealed class RemoteImages(RegistryClient client, ImagesConfiguration limits)
{
    /// <param name="target">Tag or digest.</param>
    /// <exception cref="RegistryException"/>
    /// <exception cref="InvalidImageException">What the registry has is no image that nodes can run.</exception>
    public async Task<RemoteImage> FindAsync(RegistrySource source, string target, CancellationToken cancellationToken)
    {
        var document = await client.GetManifestAsync(source, target, cancellationToken);
        for (var depth = 1; Kind(document) is MediaTypes.Index or MediaTypes.DockerIndex; depth++)
        {
            if (depth > Limits.Images.IndexDepth)
            {
                throw new InvalidImageException($"The indices of {source} nest deeper than {Limits.Images.IndexDepth}.");
            }

            var index = OciJson.Parse(document.Content, OciJson.Default.OciIndex, $"Index {document.Digest}");
            document = await client.GetManifestAsync(source, Choose(index, source).Value, cancellationToken);
        }

        return await ReadAsync(source, document, cancellationToken);
    }

    /// <summary>The document's own word; where it has none, that of the registry.</summary>
    private static string Kind(RegistryDocument document) =>
        OciJson.Parse(document.Content, OciJson.Default.OciManifest, $"Manifest {document.Digest}").MediaType ?? document.MediaType;

    private static ImageDigest Choose(OciIndex index, RegistrySource source)
    {
        var offered = (index.Manifests ?? []).OfType<OciDescriptor>().Take(Limits.Images.Manifests).ToList();
        var chosen = offered.FirstOrDefault(entry => entry.Platform is not null && ImageConfigRules.Fits(entry.Platform))
            ?? offered.FirstOrDefault(entry => entry.Platform is null);
        if (chosen is null)
        {
            var platforms = offered.Select(entry => DisplayText.Of($"{entry.Platform?.Os}/{entry.Platform?.Architecture}")).Where(platform => platform != "unknown/unknown");
            throw new InvalidImageException(
                $"{source} has the image for {string.Join(", ", platforms.Distinct().Order(StringComparer.Ordinal).Take(5))} only; nodes run "
                + $"{ImageConfigRules.OperatingSystem}/{ImageConfigRules.Architecture}.");
        }

        return DigestOf(chosen, "manifest");
    }

    private async Task<RemoteImage> ReadAsync(RegistrySource source, RegistryDocument document, CancellationToken cancellationToken)
    {
        var manifest = OciJson.Parse(document.Content, OciJson.Default.OciManifest, $"Manifest {document.Digest}");
        if (manifest.SchemaVersion != 2 || Kind(document) is not (MediaTypes.Manifest or MediaTypes.DockerManifest)
            || manifest.Config is not { MediaType: MediaTypes.Config or MediaTypes.DockerConfig } config)
        {
            throw new InvalidImageException($"What {source} has is not an image to run; image manifests (OCI, Docker schema 2) and indices of them are understood.");
        }

        List<RemoteLayer> layers = [];
        foreach (var layer in manifest.Layers ?? [])
        {
            layers.Add(layer is { Size: > 0 } && MediaTypes.CompressionOf(layer.MediaType ?? "") is { } compression
                ? new(DigestOf(layer, "layer"), layer.Size, compression)
                : throw new InvalidImageException($"Manifest {document.Digest} has a layer of unsupported kind or size (\"{DisplayText.Of(layer?.MediaType ?? "")}\")."));
        }

        if (layers.Count is 0 or > Limits.Images.Layers)
        {
            throw new InvalidImageException($"The image has {layers.Count} layers; 1 to {Limits.Images.Layers} can be mounted.");
        }

        // Checked one by one: a sum of sizes that a registry made up could overflow.
        var left = limits.MaxArchiveBytes;
        if (layers.Any(layer => layer.Size > left || (left -= layer.Size) < 0))
        {
            throw new InvalidImageException($"The image at {source} is larger than the server's images.max_archive_size allows.");
        }

        var configDigest = DigestOf(config, "configuration");
        var configBytes = await client.GetDocumentAsync(source, configDigest.Value, cancellationToken);
        var parsed = OciJson.Parse(configBytes, OciJson.Default.OciConfig, "The image configuration");
        ImageConfigRules.Check(parsed);
        var diffIds = parsed.Rootfs?.DiffIds ?? [];
        if (parsed.Rootfs?.Type != "layers" || diffIds.Count != layers.Count)
        {
            throw new InvalidImageException($"The image configuration names {diffIds.Count} layers, the manifest {layers.Count}.");
        }

        return new RemoteImage(
            ImageDigest.TryParse(document.Digest, out var digest) ? digest : throw new InvalidOperationException(document.Digest),
            document.Content, configDigest, configBytes, parsed, layers,
            [.. diffIds.Select(text => ImageDigest.TryParse(text, out var diffId) ? diffId : throw BadDigest("diff id", text))]);
    }

    private static ImageDigest DigestOf(OciDescriptor descriptor, string kind) =>
        ImageDigest.TryParse(descriptor.Digest, out var digest) ? digest : throw BadDigest(kind, descriptor.Digest);

    private static InvalidImageException BadDigest(string kind, string? text) =>
        new($"A {kind} has the digest \"{DisplayText.Of(text ?? "")}\"; sha256: and 64 lower-case hexadecimal digits are understood.");
}
