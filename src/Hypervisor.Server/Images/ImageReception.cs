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
    private const int MagicBytes = 4;

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
        if (metadata.Format == ImageFormat.Unspecified)
        {
            // The one format that says of itself what it is, and is then held to it. A raw disk may begin with anything.
            metadata = DiskFormats.IsQcow((await upload.PeekAsync(MagicBytes, cancellationToken)).Span)
                ? metadata with { Format = ImageFormat.Qcow2, Types = ImageMetadata.TypesOf(ImageFormat.Qcow2) }
                : metadata with { Format = ImageFormat.Oci };
        }

        var image = metadata.Format == ImageFormat.Oci
            ? await _archives.ImportAsync(upload, wanted, lease, cancellationToken)
            : await _disks.ImportAsync(upload, metadata, lease, cancellationToken);

        // An archive may end before what was sent does.
        var rest = new byte[Limits.Disks.BlockBytes];
        while (await upload.ReadAsync(rest, cancellationToken) > 0)
        {
        }

        pieces.RequireVerified();
        return image;
    }
}
