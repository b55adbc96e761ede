using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;

namespace Hypervisor.Server.Images.Disks;

/// <summary>A file of a disk image or kernel set in the blob store.</summary>
internal sealed record ReceivedFile(ImageDigest Digest, long Size, long VirtualSize);

/// <summary>
/// Takes one disk from a stream into a blob. Its beginning is judged before anything is written, its tables when all of it is
/// there, and only then does it get its name. No other program opens it before it is known to lead nowhere else.
/// </summary>
internal sealed class DiskReceiver(BlobStore blobs, ImagesConfiguration limits)
{
    /// <param name="content">Read asynchronously only; gzip and zstd are unpacked on the way.</param>
    /// <param name="what">Begins sentences: "The disk image".</param>
    /// <exception cref="InvalidImageException"/>
    /// <exception cref="ImageStorageException"/>
    public async Task<ReceivedFile> ReceiveAsync(
        CountedStream content, ImageFormat format, ImageMetadata metadata, string what, BlobLease lease, CancellationToken cancellationToken)
    {
        var magic = new byte[Compression.MagicLength];
        var magicLength = await content.ReadAtLeastAsync(magic, magic.Length, throwOnEndOfStream: false, cancellationToken);
        var kind = Compression.Detect(magic.AsSpan(0, magicLength));
        using var whole = new PrependedStream(magic.AsMemory(0, magicLength), content);
        var unpacked = Compression.Unpack(whole, kind);
        await using var _ = unpacked;
        try
        {
            var head = new byte[Limits.Disks.HeadBytes];
            var headLength = await unpacked.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancellationToken);
            var header = Judge(head.AsSpan(0, headLength), format, metadata.MaxVirtualSize, what);
            using var upload = blobs.BeginUpload();
            upload.Write(head.AsSpan(0, headLength));
            await CopyAsync(unpacked, kind, content, upload, format, metadata, what, cancellationToken);
            return Keep(upload, header, what, lease, cancellationToken);
        }
        catch (Exception exception) when (Compression.IsCorruption(exception))
        {
            throw new InvalidImageException($"{what} is damaged: its {kind} compression cannot be read; transfer it again.", exception);
        }
    }

    /// <returns>The header of a qcow2; null for a raw disk.</returns>
    private static Qcow2Header? Judge(ReadOnlySpan<byte> head, ImageFormat format, long maxVirtualSize, string what)
    {
        if (head.Length == 0)
        {
            throw new InvalidImageException($"{what} is empty.");
        }

        if (format == ImageFormat.Qcow2)
        {
            return Qcow2Header.Parse(head, maxVirtualSize);
        }

        return DiskFormats.Recognise(head) is not { } other ? null : throw new InvalidImageException(
            DiskFormats.IsQcow(head)
                ? $"{what} was called raw and begins as {other}: whoever opens it later may believe that, and what it names. Call it qcow2, or convert it with qemu-img convert -O raw."
                : $"{what} was called raw and is {other}; convert it with qemu-img convert -O qcow2, or unpack it.");
    }

    private async Task CopyAsync(
        Stream from, CompressionKind kind, CountedStream packed, BlobUpload upload, ImageFormat format, ImageMetadata metadata, string what,
        CancellationToken cancellationToken)
    {
        // A raw disk is as large as what is seen of it; the file of a qcow2 with all of its tables hardly larger.
        var most = format == ImageFormat.Raw ? Math.Min(limits.MaxUnpackedBytes, metadata.MaxVirtualSize) : limits.MaxUnpackedBytes;
        var buffer = new byte[Limits.Disks.BlockBytes];
        while (await from.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken) is > 0 and var count)
        {
            if (upload.Length + count > most)
            {
                throw new InvalidImageException(
                    $"{what} has more than {most} bytes; {(metadata.SizeDeclared && most == metadata.MaxVirtualSize ? "virtual_size_bytes says" : "the server's images.max_unpacked_size and images.max_virtual_size say")} how many there may be.");
            }

            upload.Write(buffer.AsSpan(0, count));
            if (kind != CompressionKind.None && !metadata.SizeDeclared)
            {
                RequirePlausible(packed.BytesRead, upload.Length, what);
            }
        }
    }

    /// <summary>A disk of zeros compresses without end and takes no room here, but does wherever it is copied to: its user has to mean it.</summary>
    private static void RequirePlausible(long packed, long unpacked, string what)
    {
        try
        {
            Compression.RequirePlausible(packed, unpacked, what);
        }
        catch (InvalidImageException exception)
        {
            throw new InvalidImageException(exception.Message + " If it is meant, say with virtual_size_bytes how large the disk is.", exception);
        }
    }

    private static ReceivedFile Keep(BlobUpload upload, Qcow2Header? header, string what, BlobLease lease, CancellationToken cancellationToken)
    {
        if (header is not null)
        {
            Qcow2Tables.Check(header, (offset, buffer) => upload.Read(offset, buffer.Span), upload.Length, cancellationToken);
        }
        else
        {
            if (upload.Length % Limits.Disks.SectorBytes != 0)
            {
                throw new InvalidImageException($"{what} has {upload.Length} bytes, which is no number of whole sectors ({Limits.Disks.SectorBytes}): it was cut off, or is no raw disk.");
            }

            var tail = new byte[Limits.Disks.TailBytes];
            upload.Read(upload.Length - tail.Length, tail);
            if (DiskFormats.RecogniseTail(tail) is { } other)
            {
                throw new InvalidImageException($"{what} was called raw and is {other}; convert it with qemu-img convert -O qcow2.");
            }
        }

        var size = upload.Length;
        return new(upload.Commit(null, lease), size, header?.VirtualSize ?? size);
    }
}
