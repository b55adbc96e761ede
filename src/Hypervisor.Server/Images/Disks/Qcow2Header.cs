using System.Buffers.Binary;

namespace Hypervisor.Server.Images.Disks;

/// <summary>The header of a qcow2 file that stands for itself: nothing in it leads to another file.</summary>
/// <remarks>docs/interop/qcow2.txt of QEMU. Classes of attack: CVE-2022-47951, CVE-2024-32498, CVE-2024-40767.</remarks>
/// <param name="VirtualSize">Bytes that a guest sees.</param>
/// <param name="L1Entries">Of the table that is there; at least as many as the disk needs.</param>
internal sealed record Qcow2Header(
    int Version, int ClusterBits, long VirtualSize, int L1Entries, long L1Offset, long RefcountTableOffset, int RefcountTableClusters, bool ExtendedL2)
{
    private const int Version2Bytes = 72;
    private const int Version3Bytes = 104;

    private const ulong Dirty = 1;
    private const ulong Corrupt = 2;
    private const ulong ExternalData = 4;
    private const ulong OtherCompression = 8;
    private const ulong SubClusters = 16;

    private const uint EndOfExtensions = 0;
    private const uint DataFileExtension = 0x44415441;
    private const uint EncryptionExtension = 0x0537BE77;

    public int ClusterBytes => 1 << ClusterBits;

    /// <summary>Of one entry of a second-level table.</summary>
    public int L2EntryBytes => ExtendedL2 ? 16 : 8;

    public int L2Entries => ClusterBytes / L2EntryBytes;

    /// <param name="head">The beginning of the file, or all of it.</param>
    /// <param name="maxVirtualSize">More is a bomb: what is written to a disk made of it fills the node's.</param>
    /// <exception cref="InvalidImageException">It is none, or not one that may be kept.</exception>
    public static Qcow2Header Parse(ReadOnlySpan<byte> head, long maxVirtualSize)
    {
        if (!DiskFormats.IsQcow(head))
        {
            throw new InvalidImageException(
                $"The file is not a qcow2 disk: it {(DiskFormats.Recognise(head) is { } other ? $"is {other}" : "does not begin as one")}. Name its format, or convert it with qemu-img convert -O qcow2.");
        }

        var version = head.Length < Version2Bytes ? 0 : BinaryPrimitives.ReadUInt32BigEndian(head[4..]);
        if (version is not (2 or 3) || (version == 3 && head.Length < Version3Bytes))
        {
            throw Refuse(version == 0 || version == 3 ? "ends within its header" : $"has version {version}; 2 and 3 are understood, to which qemu-img convert -O qcow2 brings it");
        }

        if (Number64(head, 8) != 0 || Number32(head, 16) != 0)
        {
            throw Refuse("has a backing file, which would be read instead of it; give the disk all of its content with qemu-img convert -O qcow2");
        }

        if (Number32(head, 32) != 0)
        {
            throw Refuse("is encrypted; decrypt it with qemu-img convert");
        }

        if (Number32(head, 60) != 0)
        {
            throw Refuse("has internal snapshots, which would bring other content and memory along; leave them out with qemu-img convert -O qcow2");
        }

        var features = version == 3 ? Number64(head, 72) : 0;
        CheckFeatures(features);
        var header = new Qcow2Header(
            (int)version,
            ClusterBitsOf(head, (features & SubClusters) != 0),
            Size(head, maxVirtualSize),
            (int)Math.Min(Number32(head, 36), int.MaxValue),
            Offset(head, 40),
            Offset(head, 48),
            (int)Math.Min(Number32(head, 56), int.MaxValue),
            (features & SubClusters) != 0);
        CheckLengths(head, header, features);
        return header;
    }

    public static InvalidImageException Refuse(string what) => new($"The qcow2 disk {what}.");

    private static void CheckFeatures(ulong features)
    {
        if ((features & ExternalData) != 0)
        {
            throw Refuse("keeps its content in another file; bring it into one with qemu-img convert -O qcow2");
        }

        if ((features & (Dirty | Corrupt)) != 0)
        {
            throw Refuse("is damaged or was not closed properly; repair it with qemu-img check -r all");
        }

        if ((features & ~(OtherCompression | SubClusters)) is not 0 and var unknown)
        {
            throw Refuse($"needs features that are not understood (0x{unknown:x}); convert it with qemu-img convert -O qcow2");
        }
    }

    private static int ClusterBitsOf(ReadOnlySpan<byte> head, bool subClusters)
    {
        var bits = Number32(head, 20);
        return bits >= (subClusters ? 14 : Limits.Disks.MinClusterBits) && bits <= Limits.Disks.MaxClusterBits
            ? (int)bits
            : throw Refuse($"has clusters of 2^{bits} bytes; 2^{Limits.Disks.MinClusterBits} to 2^{Limits.Disks.MaxClusterBits} are understood");
    }

    private static long Size(ReadOnlySpan<byte> head, long maximum)
    {
        var size = Number64(head, 24);
        return size is 0 || size > (ulong)maximum
            ? throw Refuse(size == 0 ? "has no content" : $"has a virtual size of {size} bytes; at most {maximum} are allowed (virtual_size_bytes, or images.max_virtual_size of the server)")
            : (long)size;
    }

    /// <summary>What the header says of its own and its tables' lengths; offsets are compared with the file when all of it is there.</summary>
    private static void CheckLengths(ReadOnlySpan<byte> head, Qcow2Header header, ulong features)
    {
        var length = Version2Bytes;
        if (header.Version == 3)
        {
            length = (int)Math.Min(Number32(head, 100), int.MaxValue);
            if (length < Version3Bytes || length % 8 != 0 || length > Math.Min(head.Length, header.ClusterBytes))
            {
                throw Refuse($"has a header of {length} bytes");
            }

            if (Number32(head, 96) > 6)
            {
                throw Refuse("has reference counts wider than 64 bits");
            }

            var compression = length > Version3Bytes ? head[Version3Bytes] : 0;
            if (compression > 1 || (compression != 0) != ((features & OtherCompression) != 0))
            {
                throw Refuse("is compressed in a way that is not understood");
            }
        }

        var perL1Entry = (long)header.L2Entries << header.ClusterBits;
        var needed = (header.VirtualSize + perL1Entry - 1) / perL1Entry;
        if (header.L1Entries < needed || header.L1Entries * 8L > Limits.Disks.MaxL1Bytes)
        {
            throw Refuse($"has a table of {header.L1Entries} entries where its size needs {needed}");
        }

        if (header.RefcountTableClusters == 0 || (long)header.RefcountTableClusters << header.ClusterBits > Limits.Disks.MaxRefcountTableBytes)
        {
            throw Refuse($"has a reference count table of {header.RefcountTableClusters} clusters");
        }

        CheckExtensions(head[..Math.Min(head.Length, header.ClusterBytes)], length);
    }

    /// <summary>Extensions may say again what the header does not: another format's secrets, another file's name.</summary>
    private static void CheckExtensions(ReadOnlySpan<byte> cluster, int offset)
    {
        while (offset + 8 <= cluster.Length)
        {
            var (type, length) = (Number32(cluster, offset), Number32(cluster, offset + 4));
            switch (type)
            {
                case EndOfExtensions:
                    return;
                case DataFileExtension:
                    throw Refuse("keeps its content in another file; bring it into one with qemu-img convert -O qcow2");
                case EncryptionExtension:
                    throw Refuse("is encrypted; decrypt it with qemu-img convert");
            }

            if (length > cluster.Length - offset - 8)
            {
                throw Refuse("has a header extension that is longer than the header");
            }

            offset += 8 + (int)((length + 7) & ~7u);
        }
    }

    private static long Offset(ReadOnlySpan<byte> head, int at) =>
        Number64(head, at) is var offset and > 0 and <= long.MaxValue ? (long)offset : throw Refuse("has a table that lies nowhere");

    private static uint Number32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong Number64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);
}
