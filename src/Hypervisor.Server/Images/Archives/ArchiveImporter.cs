using System.Text.Json;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Blobs;

namespace Hypervisor.Server.Images.Archives;

/// <summary>Takes an uploaded archive, verifies one image of it wholly, and keeps its blobs in OCI form.</summary>
internal sealed class ArchiveImporter(BlobStore blobs, ImagesConfiguration limits, TimeProvider time)
{
    /// <param name="wanted">Which image of an archive with several; null when there is but one.</param>
    /// <param name="lease">Holds the blobs until a record names them.</param>
    /// <exception cref="InvalidImageException">Anything is wrong with the archive.</exception>
    /// <exception cref="ImageStorageException">The disk is full or failing.</exception>
    public async Task<VerifiedImage> ImportAsync(
        IAsyncEnumerable<ReadOnlyMemory<byte>> pieces, ImageReference? wanted, BlobLease lease, CancellationToken cancellationToken)
    {
        await using var upload = new UploadStream(pieces.GetAsyncEnumerator(cancellationToken), limits.MaxArchiveBytes, time);
        return await ImportAsync(upload, wanted, lease, cancellationToken);
    }

    /// <inheritdoc cref="ImportAsync(IAsyncEnumerable{ReadOnlyMemory{byte}}, ImageReference?, BlobLease, CancellationToken)"/>
    public async Task<VerifiedImage> ImportAsync(UploadStream upload, ImageReference? wanted, BlobLease lease, CancellationToken cancellationToken)
    {
        using var archive = await SpooledArchive.ReceiveAsync(upload, blobs, limits.MaxUnpackedBytes, cancellationToken);
        var images = OciLayoutReader.Applies(archive) ? new OciLayoutReader(archive).Read()
            : DockerSaveReader.Applies(archive) ? DockerSaveReader.Read(archive)
            : throw new InvalidImageException("The archive is neither an OCI layout (oci-layout, index.json) nor made by docker save (manifest.json).");
        var (image, name) = Choose(images, wanted);
        return Keep(archive, image, name, lease, cancellationToken);
    }

    private static (ArchiveImage Image, ImageReference? Name) Choose(IReadOnlyList<ArchiveImage> images, ImageReference? wanted)
    {
        var named = images.SelectMany(image => image.Names.Select(name => (Image: image, Text: name, Parsed: Parse(name)))).ToList();
        if (wanted is not null && named.FirstOrDefault(entry => entry.Parsed == wanted) is { Image: not null } match)
        {
            return (match.Image, wanted);
        }

        if (images.Count == 1)
        {
            var names = named.Where(entry => entry.Parsed is not null).Select(entry => entry.Parsed).Distinct().ToList();
            return (images[0], names.Count == 1 ? names[0] : null);
        }

        throw new InvalidImageException(images.Count == 0
            ? "The archive has no image."
            : $"The archive has {images.Count} images; name one of them: {string.Join(", ", named.Select(entry => DisplayText.Of(entry.Text)).Take(10))}.");

        // A reference annotation may be a tag alone, "latest", which says nothing about the name.
        static ImageReference? Parse(string text) => text.Contains(':') && ImageReference.TryParseForeign(text, out var reference) ? reference : null;
    }

    private VerifiedImage Keep(SpooledArchive archive, ArchiveImage image, ImageReference? name, BlobLease lease, CancellationToken cancellationToken)
    {
        var configBytes = archive.ReadSmall(image.Config.Path)!;
        var config = OciJson.Parse(configBytes, OciJson.Default.OciConfig, "The image configuration");
        ImageConfigRules.Check(config);
        var diffIds = DiffIds(config, image.Layers.Count);

        List<(ImageDigest Digest, CompressionKind Kind, long Size)> layers = [];
        Dictionary<string, (ImageDigest DiffId, ImageDigest Digest, CompressionKind Kind, long Size, long Unpacked)> done = new(StringComparer.Ordinal);
        var allowance = limits.MaxUnpackedBytes;
        for (var index = 0; index < image.Layers.Count; index++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var blob = image.Layers[index];
            var what = $"Layer {index + 1} ({ArchivePath.Show(blob.Path)})";
            if (done.TryGetValue(blob.Path, out var layer))
            {
                LayerChecker.Repeat(layer.Unpacked, what, ref allowance);
            }
            else
            {
                var before = allowance;
                var (diffId, digest, kind, size) = KeepLayer(archive, blob, what, ref allowance, lease);
                done.Add(blob.Path, layer = (diffId, digest, kind, size, before - allowance));
            }

            if (layer.DiffId != diffIds[index])
            {
                throw new InvalidImageException($"{what} unpacks to {layer.DiffId}, not to {diffIds[index]} as the configuration says: the archive is damaged or was tampered with.");
            }

            layers.Add((layer.Digest, layer.Kind, layer.Size));
        }

        var configDigest = Keep(configBytes, image.Config.Digest, lease);
        var manifestBytes = image.Manifest ?? Manifest(configDigest, configBytes.Length, layers);
        var manifestDigest = Keep(manifestBytes, null, lease);
        return new VerifiedImage(
            name,
            manifestDigest,
            config,
            [.. new[] { manifestDigest, configDigest }.Concat(layers.Select(layer => layer.Digest)).Distinct()],
            manifestBytes.Length + configBytes.Length + layers.DistinctBy(layer => layer.Digest).Sum(layer => layer.Size));
    }

    private (ImageDigest DiffId, ImageDigest Digest, CompressionKind Kind, long Size) KeepLayer(
        SpooledArchive archive, ArchiveBlob blob, string what, ref long allowance, BlobLease lease)
    {
        using var content = archive.Open(blob.Path) ?? throw new InvalidImageException($"{what} is not in the archive.");
        var head = new byte[Compression.MagicLength];
        var kind = Compression.Detect(head.AsSpan(0, content.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)));
        if (blob.Compression is { } promised && promised != kind)
        {
            throw new InvalidImageException($"{what} is compressed as {kind}, not {promised} as its media type says.");
        }

        content.Rewind();
        var diffId = LayerChecker.Check(content, kind, what, ref allowance);

        content.Rewind();
        using var upload = blobs.BeginUpload();
        var buffer = new byte[256 * 1024];
        for (int count; (count = content.Read(buffer)) > 0;)
        {
            upload.Write(buffer.AsSpan(0, count));
        }

        return (diffId, upload.Commit(blob.Digest, lease), kind, content.Length);
    }

    private ImageDigest Keep(byte[] content, ImageDigest? expected, BlobLease lease)
    {
        using var upload = blobs.BeginUpload();
        upload.Write(content);
        return upload.Commit(expected, lease);
    }

    private static List<ImageDigest> DiffIds(OciConfig config, int layers)
    {
        if (layers is 0 or > Limits.Images.Layers)
        {
            throw new InvalidImageException($"The image has {layers} layers; 1 to {Limits.Images.Layers} can be mounted.");
        }

        var texts = config.Rootfs?.DiffIds ?? [];
        if (config.Rootfs?.Type != "layers" || texts.Count != layers)
        {
            throw new InvalidImageException($"The image configuration names {texts.Count} layers, the manifest {layers}.");
        }

        return [.. texts.Select(text => ImageDigest.TryParse(text, out var digest)
            ? digest
            : throw new InvalidImageException($"The image configuration has the diff id \"{DisplayText.Of(text ?? "")}\"; sha256: and 64 lower-case hexadecimal digits are understood."))];
    }

    /// <summary>The same image always makes the same bytes, so that importing it twice is importing it once.</summary>
    private static byte[] Manifest(ImageDigest config, long configSize, IEnumerable<(ImageDigest Digest, CompressionKind Kind, long Size)> layers) =>
        JsonSerializer.SerializeToUtf8Bytes(
            new OciManifest(2, MediaTypes.Manifest, new OciDescriptor(MediaTypes.Config, config.Value, configSize),
                [.. layers.Select(layer => new OciDescriptor(MediaTypes.LayerOf(layer.Kind), layer.Digest.Value, layer.Size))]),
            OciJson.Plain.OciManifest);
}
