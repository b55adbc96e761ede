using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Images.Disks;

namespace Hypervisor.Server.Images;

/// <summary>Takes what is imported, of whatever format and from wherever, into the blob store, and verifies it.</summary>
internal sealed class ImageReception(BlobStore blobs, ImagesConfiguration limits, TimeProvider time)
{
    /// <summary>A header of tar with the magic that all but the oldest archives have.</summary>
    private const int PeekBytes = 512;
    private const int TarMagicOffset = 257;

    private readonly ArchiveImporter _archives = new(blobs, limits, time);
    private readonly DiskImporter _disks = new(blobs, limits);

    /// <param name="wanted">Which image of an archive with several; null when there is but one.</param>
    /// <param name="lease">Holds the blobs until a record names them.</param>
    /// <exception cref="InvalidImageException"/>
    /// <exception cref="ImageStorageException"/>
    public async Task<VerifiedImage> ReceiveAsync(
        IAsyncEnumerable<ReadOnlyMemory<byte>> content, ImageMetadata metadata, ImageReference? wanted, BlobLease lease, CancellationToken cancellationToken)
    {
        using var pieces = new CheckedPieces(content, metadata.Checksum);
        await using var upload = new UploadStream(pieces.ReadAsync(cancellationToken).GetAsyncEnumerator(cancellationToken), limits.MaxArchiveBytes, time);
        var image = metadata.Format switch
        {
            ImageFormat.Unspecified => await RecogniseAsync(upload, metadata, wanted, lease, cancellationToken),
            ImageFormat.Oci => await _archives.ImportAsync(upload, wanted, lease, cancellationToken),
            _ => await _disks.ImportAsync(upload, metadata, lease, cancellationToken),
        };

        // An archive may end before what was sent does.
        var rest = new byte[Limits.Disks.BlockBytes];
        while (await upload.ReadAsync(rest, cancellationToken) > 0)
        {
        }

        pieces.RequireVerified();
        return image;
    }

    /// <summary>qcow2 is the one format that says of itself what it is, and is then held to it. A raw disk may begin with anything.</summary>
    private async Task<VerifiedImage> RecogniseAsync(
        UploadStream upload, ImageMetadata metadata, ImageReference? wanted, BlobLease lease, CancellationToken cancellationToken)
    {
        var head = await upload.PeekAsync(PeekBytes, cancellationToken);
        if (DiskFormats.IsQcow(head.Span))
        {
            var qcow2 = metadata with { Format = ImageFormat.Qcow2, Types = ImageMetadata.TypesOf(ImageFormat.Qcow2) };
            return await _disks.ImportAsync(upload, qcow2, lease, cancellationToken);
        }

        var archive = Compression.Detect(head.Span) != CompressionKind.None || (head.Length == PeekBytes && head.Span[TarMagicOffset..].StartsWith("ustar"u8));
        try
        {
            return await _archives.ImportAsync(upload, wanted, lease, cancellationToken);
        }
        catch (InvalidImageException exception) when (!archive)
        {
            throw new InvalidImageException(exception.Message + " If it is a disk image or kernel set, name its format.", exception);
        }
    }
}
