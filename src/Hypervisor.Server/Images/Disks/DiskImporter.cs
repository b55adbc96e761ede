using System.Buffers.Binary;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;

namespace Hypervisor.Server.Images.Disks;

/// <summary>Takes disk images and kernel sets into the blob store, described by a manifest as every image is.</summary>
internal sealed class DiskImporter(BlobStore blobs, ImagesConfiguration limits)
{
    private readonly DiskReceiver _disks = new(blobs, limits);

    /// <param name="upload">Read to its end, also where what is wanted of it ends before.</param>
    /// <exception cref="InvalidImageException"/>
    /// <exception cref="ImageStorageException"/>
    public async Task<VerifiedImage> ImportAsync(Stream upload, ImageMetadata metadata, BlobLease lease, CancellationToken cancellationToken)
    {
        List<(string MediaType, ReceivedFile File)> files = [];
        if (metadata.Format == ImageFormat.Kernel)
        {
            foreach (var file in metadata.Files)
            {
                files.Add(await ReceiveAsync(upload, file, metadata, lease, cancellationToken));
            }

            files.Sort((left, right) => Array.IndexOf(_order, left.MediaType).CompareTo(Array.IndexOf(_order, right.MediaType)));
        }
        else
        {
            var content = new CountedStream(upload);
            files.Add((
                metadata.Format == ImageFormat.Qcow2 ? DiskMediaTypes.Qcow2 : DiskMediaTypes.Raw,
                await _disks.ReceiveAsync(content, metadata.Format, metadata, "The disk image", lease, cancellationToken)));
        }

        await RequireEndAsync(upload, metadata.Format == ImageFormat.Kernel, cancellationToken);
        return Describe(files, metadata, lease);
    }

    /// <summary>Of the layers: what boots, then what it boots from.</summary>
    private static readonly string[] _order = [DiskMediaTypes.Kernel, DiskMediaTypes.Initramfs, DiskMediaTypes.Raw];

    private async Task<(string MediaType, ReceivedFile File)> ReceiveAsync(
        Stream upload, ImportImageFile file, ImageMetadata metadata, BlobLease lease, CancellationToken cancellationToken)
    {
        var content = new CountedStream(upload, file.SizeBytes);
        var received = file.Role switch
        {
            ImageFileRole.Rootfs => (DiskMediaTypes.Raw, await _disks.ReceiveAsync(content, ImageFormat.Raw, metadata, "The root file system", lease, cancellationToken)),
            ImageFileRole.Kernel => (DiskMediaTypes.Kernel, await CopyAsync(content, IsKernel, "The kernel is neither a bzImage nor an ELF file for x86-64", lease, cancellationToken)),
            _ => (DiskMediaTypes.Initramfs, await CopyAsync(content, IsInitramfs, "The initramfs is no cpio archive (newc), plain or compressed", lease, cancellationToken)),
        };
        return content.BytesRead == file.SizeBytes
            ? received
            : throw new InvalidImageException($"{file.Role} ended after {content.BytesRead} of {file.SizeBytes} bytes: the upload was cut off, or there is more in the file than it should have.");
    }

    private async Task<ReceivedFile> CopyAsync(CountedStream content, Func<byte[], bool> judge, string complaint, BlobLease lease, CancellationToken cancellationToken)
    {
        var buffer = new byte[Limits.Disks.BlockBytes];
        using var upload = blobs.BeginUpload();
        while (await content.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken) is > 0 and var count)
        {
            if (upload.Length == 0 && !judge(buffer))
            {
                throw new InvalidImageException($"{complaint}.");
            }

            upload.Write(buffer.AsSpan(0, count));
        }

        var size = upload.Length;
        return new(upload.Commit(null, lease), size, 0);
    }

    /// <summary>Documentation/arch/x86/boot.rst: "HdrS" at 0x202. ELF: class 64, machine 62.</summary>
    private static bool IsKernel(byte[] head) =>
        head.AsSpan(0x202).StartsWith("HdrS"u8)
        || (head.AsSpan().StartsWith((ReadOnlySpan<byte>)[0x7F, (byte)'E', (byte)'L', (byte)'F', 2]) && BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(18)) == 62);

    /// <summary>Documentation/driver-api/early-userspace/buffer-format.rst, and the compressions of lib/decompress.c.</summary>
    private static bool IsInitramfs(byte[] head)
    {
        ReadOnlySpan<byte> start = head;
        return start.StartsWith("070701"u8) || start.StartsWith("070702"u8) || Compression.Detect(start) != CompressionKind.None
            || start.StartsWith((ReadOnlySpan<byte>)[0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]) || start.StartsWith("BZh"u8)
            || start.StartsWith((ReadOnlySpan<byte>)[0x5D, 0, 0]) || start.StartsWith((ReadOnlySpan<byte>)[0x02, 0x21, 0x4C, 0x18]);
    }

    private static async Task RequireEndAsync(Stream upload, bool sized, CancellationToken cancellationToken)
    {
        // To the end in any case: there the checksum is compared.
        var rest = new byte[Limits.Disks.BlockBytes];
        for (long more = 0; await upload.ReadAsync(rest, cancellationToken) is > 0 and var count;)
        {
            more += count;
            if (sized || more > rest.Length)
            {
                throw new InvalidImageException("There is more after the end of the image; it was made or joined wrongly.");
            }
        }
    }

    private VerifiedImage Describe(List<(string MediaType, ReceivedFile File)> files, ImageMetadata metadata, BlobLease lease)
    {
        var virtualSize = files.Max(file => file.File.VirtualSize);
        var (config, configSize) = Keep(DiskDocuments.Config(metadata, virtualSize), lease);
        var (manifest, manifestSize) = Keep(
            DiskDocuments.Manifest(
                new OciDescriptor(null, config.Value, configSize),
                [.. files.Select(file => new OciDescriptor(file.MediaType, file.File.Digest.Value, file.File.Size))]),
            lease);
        return new VerifiedImage(
            null,
            manifest,
            new OciConfig(metadata.Architecture, metadata.OperatingSystem, metadata.DefaultUser.Length == 0 ? null : new(metadata.DefaultUser, null, null, null, null, null, null), null),
            [.. new[] { manifest, config }.Concat(files.Select(file => file.File.Digest)).Distinct()],
            manifestSize + configSize + files.DistinctBy(file => file.File.Digest).Sum(file => file.File.Size))
        {
            Format = metadata.Format,
            VirtualSizeBytes = virtualSize,
            Types = metadata.Types,
        };
    }

    private (ImageDigest Digest, long Size) Keep(byte[] content, BlobLease lease)
    {
        using var upload = blobs.BeginUpload();
        upload.Write(content);
        return (upload.Commit(null, lease), content.Length);
    }
}
