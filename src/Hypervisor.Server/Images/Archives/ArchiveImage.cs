using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Images.Archives;

/// <summary>One image that an archive offers, before anything of it is trusted.</summary>
/// <param name="Names">As the archive calls it; none when it does not.</param>
/// <param name="Manifest">An OCI manifest to keep as it is; null when one has to be made.</param>
internal sealed record ArchiveImage(IReadOnlyList<string> Names, byte[]? Manifest, ArchiveBlob Config, IReadOnlyList<ArchiveBlob> Layers);

/// <summary>A blob of an archive.</summary>
/// <param name="Path">Normalised path of its entry.</param>
/// <param name="Digest">What it must be; null where the archive does not say.</param>
/// <param name="Compression">What it must be; null where the archive does not say.</param>
internal sealed record ArchiveBlob(string Path, ImageDigest? Digest, CompressionKind? Compression);

/// <summary>An image whose manifest and configuration were verified and are in the blob store.</summary>
/// <param name="Blobs">Digests of manifest, configuration and layers, each once.</param>
/// <param name="SizeBytes">Of the blobs.</param>
internal sealed record VerifiedImage(ImageReference? Name, ImageDigest Digest, OciConfig Config, IReadOnlyList<ImageDigest> Blobs, long SizeBytes)
{
    /// <summary>Registry and repository; empty for an archive's.</summary>
    public string Source { get; init; } = "";

    /// <summary>Its layers too were verified and are in the blob store.</summary>
    public bool Stored { get; init; } = true;

    public ImageFormat Format { get; init; } = ImageFormat.Oci;

    /// <summary>Of disk images and kernel sets.</summary>
    public long VirtualSizeBytes { get; init; }

    /// <summary>An OCI image runs as every type: the node makes of it what the type needs.</summary>
    public IReadOnlyList<InstanceType> Types { get; init; } = ImageMetadata.TypesOf(ImageFormat.Oci);
}
