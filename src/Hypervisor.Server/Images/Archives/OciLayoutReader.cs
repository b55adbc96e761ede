using System.Security.Cryptography;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images.Archives;

/// <summary>Images of an archive in the OCI image layout (image specification 1.1, image-layout.md).</summary>
internal sealed class OciLayoutReader(SpooledArchive archive)
{
    // containerd's and Docker's exporters put the whole reference here, and only the tag into the standard one.
    private const string FullName = "io.containerd.image.name";
    private const string ReferenceName = "org.opencontainers.image.ref.name";

    private readonly HashSet<string> _platformsPassedOver = [];
    private int _manifests;

    public static bool Applies(SpooledArchive archive) => archive.Contains("oci-layout") && archive.Contains("index.json");

    /// <summary>Those for the platform that nodes run.</summary>
    /// <exception cref="InvalidImageException">Malformed, or nothing for the platform.</exception>
    public IReadOnlyList<ArchiveImage> Read()
    {
        var layout = OciJson.Parse(archive.ReadSmall("oci-layout")!, OciJson.Default.OciLayout, "oci-layout");
        if (layout.ImageLayoutVersion != "1.0.0")
        {
            throw new InvalidImageException($"oci-layout has version \"{DisplayText.Of(layout.ImageLayoutVersion ?? "")}\"; 1.0.0 is understood.");
        }

        List<ArchiveImage> images = [];
        Collect(OciJson.Parse(archive.ReadSmall("index.json")!, OciJson.Default.OciIndex, "index.json"), [], 1, images);
        if (images.Count == 0 && _platformsPassedOver.Count > 0)
        {
            throw new InvalidImageException(
                $"The archive has the image for {string.Join(", ", _platformsPassedOver.Order(StringComparer.Ordinal).Take(5))} only; nodes run linux/amd64. Make it with --platform linux/amd64.");
        }

        return images;
    }

    private void Collect(OciIndex index, IReadOnlyList<string> inherited, int depth, List<ArchiveImage> images)
    {
        if (depth > Limits.Images.IndexDepth)
        {
            throw new InvalidImageException($"The archive's indices nest deeper than {Limits.Images.IndexDepth}.");
        }

        foreach (var descriptor in index.Manifests ?? [])
        {
            if (++_manifests > Limits.Images.Manifests)
            {
                throw new InvalidImageException($"The archive has more than {Limits.Images.Manifests} manifests.");
            }

            if (descriptor is null)
            {
                throw new InvalidImageException("An index of the archive has an empty descriptor.");
            }

            if (!ImageConfigRules.Fits(descriptor.Platform))
            {
                // Attestations of build tools have the platform unknown/unknown.
                if (descriptor.Platform!.Os != "unknown")
                {
                    _platformsPassedOver.Add(DisplayText.Of($"{descriptor.Platform.Os}/{descriptor.Platform.Architecture}"));
                }

                continue;
            }

            var names = NamesOf(descriptor) is { Count: > 0 } own ? own : inherited;
            switch (descriptor.MediaType)
            {
                case MediaTypes.Index or MediaTypes.DockerIndex:
                    Collect(OciJson.Parse(ReadBlob(descriptor, "index"), OciJson.Default.OciIndex, $"Index {descriptor.Digest}"), names, depth + 1, images);
                    break;
                case MediaTypes.Manifest or MediaTypes.DockerManifest:
                    images.Add(Image(descriptor, names));
                    break;
                default:
                    throw new InvalidImageException($"The archive's index names a {DisplayText.Of(descriptor.MediaType ?? "thing without media type")}; image manifests and indices are understood.");
            }
        }
    }

    private ArchiveImage Image(OciDescriptor descriptor, IReadOnlyList<string> names)
    {
        var bytes = ReadBlob(descriptor, "manifest");
        var manifest = OciJson.Parse(bytes, OciJson.Default.OciManifest, $"Manifest {descriptor.Digest}");
        if (manifest.SchemaVersion != 2 || (manifest.MediaType ?? descriptor.MediaType) != descriptor.MediaType)
        {
            throw new InvalidImageException($"Manifest {descriptor.Digest} is not of the kind that the index says.");
        }

        if (manifest.Config is not { MediaType: MediaTypes.Config or MediaTypes.DockerConfig } config)
        {
            throw new InvalidImageException($"Manifest {descriptor.Digest} is not that of an image to run: its configuration is a {DisplayText.Of(manifest.Config?.MediaType ?? "nothing")}.");
        }

        List<ArchiveBlob> layers = [];
        foreach (var layer in manifest.Layers ?? [])
        {
            var kind = layer is null ? null : MediaTypes.CompressionOf(layer.MediaType ?? "");
            layers.Add(kind is null
                ? throw new InvalidImageException($"Manifest {descriptor.Digest} has a layer of unsupported kind \"{DisplayText.Of(layer?.MediaType ?? "")}\".")
                : Blob(layer!, "layer") with { Compression = kind });
        }

        // Docker's media types are rewritten, so that agents know one set only.
        var isOci = descriptor.MediaType == MediaTypes.Manifest && config.MediaType == MediaTypes.Config
            && manifest.Layers!.All(layer => layer!.MediaType!.StartsWith(MediaTypes.Layer, StringComparison.Ordinal));
        return new ArchiveImage(names, isOci ? bytes : null, Blob(config, "configuration"), layers);
    }

    private byte[] ReadBlob(OciDescriptor descriptor, string kind)
    {
        var blob = Blob(descriptor, kind);
        var bytes = archive.ReadSmall(blob.Path)!;
        return ImageDigest.Of(SHA256.HashData(bytes)) == blob.Digest
            ? bytes
            : throw new InvalidImageException($"Blob {blob.Digest} ({kind}) has other content than its name says: the archive is damaged; make it again.");
    }

    private ArchiveBlob Blob(OciDescriptor descriptor, string kind)
    {
        if (!ImageDigest.TryParse(descriptor.Digest, out var digest))
        {
            throw new InvalidImageException($"A {kind} has the digest \"{DisplayText.Of(descriptor.Digest ?? "")}\"; sha256: and 64 lower-case hexadecimal digits are understood.");
        }

        var path = $"blobs/sha256/{digest.Hex}";
        using var content = archive.Open(path) ?? throw new InvalidImageException($"Blob {digest} ({kind}) is not in the archive; make it with all its blobs.");
        return content.Length == descriptor.Size
            ? new ArchiveBlob(path, digest, null)
            : throw new InvalidImageException($"Blob {digest} ({kind}) has {content.Length} bytes, not {descriptor.Size} as its descriptor says.");
    }

    private static List<string> NamesOf(OciDescriptor descriptor)
    {
        var annotations = descriptor.Annotations;
        return annotations?.GetValueOrDefault(FullName) is { Length: > 0 } full ? [full]
            : annotations?.GetValueOrDefault(ReferenceName) is { Length: > 0 } reference ? [reference]
            : [];
    }
}
