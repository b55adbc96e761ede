using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Hypervisor.Server.Images.Disks;

/// <summary>Follows a qcow2 file's tables to every cluster: all of them lie within the file.</summary>
internal static class Qcow2Tables
{
    // docs/interop/qcow2.txt: bits 9 to 55 of an entry are an offset; bit 62 of a second-level entry says that the cluster is compressed.
    private const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    private const ulong Compressed = 1UL << 62;

    /// <param name="read">Fills the buffer from an offset of the file; all of it is there.</param>
    /// <param name="length">Of the file.</param>
    /// <exception cref="InvalidImageException">The file was cut off, or its tables lead out of it.</exception>
    public static void Check(Qcow2Header header, Action<long, Memory<byte>> read, long length, CancellationToken cancellationToken)
    {
        Require(header, header.RefcountTableOffset, (long)header.RefcountTableClusters << header.ClusterBits, length);
        Require(header, header.L1Offset, header.L1Entries * 8L, length);
        var l2 = new byte[header.ClusterBytes];
        HashSet<long> seen = [];
        foreach (var entry in Read(read, header.L1Offset, header.L1Entries * 8))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if ((long)(BinaryPrimitives.ReverseEndianness(entry) & OffsetMask) is not 0 and var table)
            {
                Require(header, table, header.ClusterBytes, length);
                if (!seen.Add(table))
                {
                    // Without snapshots nothing is shared; and a small file that names one table millions of times costs hours.
                    throw Qcow2Header.Refuse($"names the table at {table} more than once; repair it with qemu-img check -r all");
                }

                read(table, l2);
                CheckClusters(header, l2, length);
            }
        }

        foreach (var entry in Read(read, header.RefcountTableOffset, header.RefcountTableClusters << header.ClusterBits))
        {
            if ((long)(BinaryPrimitives.ReverseEndianness(entry) & OffsetMask) is not 0 and var block)
            {
                Require(header, block, header.ClusterBytes, length);
            }
        }
    }

    private static void CheckClusters(Qcow2Header header, byte[] table, long length)
    {
        var compressedOffset = (1UL << (62 - (header.ClusterBits - 8))) - 1;
        for (var index = 0; index < table.Length; index += header.L2EntryBytes)
        {
            var entry = BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(index));
            if ((entry & Compressed) != 0)
            {
                if ((entry & compressedOffset) >= (ulong)length)
                {
                    throw CutOff(length);
                }
            }
            else if ((long)(entry & OffsetMask) is not 0 and var cluster)
            {
                // The last cluster may be short: what is beyond the end of the file reads as zeros.
                Require(header, cluster, 1, length);
            }
        }
    }

    private static void Require(Qcow2Header header, long offset, long bytes, long length)
    {
        if (offset % header.ClusterBytes != 0)
        {
            throw Qcow2Header.Refuse($"has a cluster at {offset}, which is none's beginning; repair it with qemu-img check -r all");
        }

        if (offset > length - bytes)
        {
            throw CutOff(length);
        }
    }

    private static InvalidImageException CutOff(long length) =>
        Qcow2Header.Refuse($"names content beyond its end at {length} bytes: it was cut off; transfer it again");

    private static ulong[] Read(Action<long, Memory<byte>> read, long offset, int bytes)
    {
        var raw = new byte[bytes];
        read(offset, raw);
        return MemoryMarshal.Cast<byte, ulong>(raw).ToArray();
    }
}
