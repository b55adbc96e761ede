using System.Buffers.Binary;

namespace Hypervisor.Tests.Server.Images.Disks;

/// <summary>Good disks, and pieces to make bad ones from, byte by byte; test/Hypervisor.ClusterTests has qemu-img's own.</summary>
internal static class DiskFiles
{
    public const int Cluster = 1 << 16;
    public const long VirtualSize = 10L << 20;

    /// <summary>The beginning of each part of <see cref="Qcow2"/>.</summary>
    public const int RefcountTable = Cluster;
    public const int RefcountBlock = 2 * Cluster;
    public const int L1 = 3 * Cluster;
    public const int L2 = 4 * Cluster;
    public const int Data = 5 * Cluster;

    /// <summary>A qcow2 of version 3 with one cluster of content.</summary>
    public static byte[] Qcow2(Action<byte[]>? change = null)
    {
        var file = new byte[6 * Cluster];
        "QFI"u8.CopyTo(file);
        file[3] = 0xFB;
        Put32(file, 4, 3);
        Put32(file, 20, 16);
        Put64(file, 24, VirtualSize);
        Put32(file, 36, 1);
        Put64(file, 40, L1);
        Put64(file, 48, RefcountTable);
        Put32(file, 56, 1);
        Put32(file, 96, 4);
        Put32(file, 100, 112);
        Put64(file, RefcountTable, RefcountBlock);
        Put64(file, L1, L2 | (1UL << 63));
        Put64(file, L2, Data | (1UL << 63));
        file.AsSpan(Data).Fill(0x5A);
        change?.Invoke(file);
        return file;
    }

    /// <summary>Sectors of something, then zeros.</summary>
    public static byte[] Raw(int bytes = 1 << 20)
    {
        var disk = new byte[bytes];
        new Random(7).NextBytes(disk.AsSpan(0, 4096));
        disk[0] = 0xEB;
        return disk;
    }

    /// <summary>A kernel by its marks alone.</summary>
    public static byte[] Kernel()
    {
        var kernel = new byte[4096];
        "HdrS"u8.CopyTo(kernel.AsSpan(0x202));
        return kernel;
    }

    public static byte[] Initramfs() => [.. "070701"u8, .. new byte[1000]];

    public static void Put32(byte[] file, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(at), value);

    public static void Put64(byte[] file, int at, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(file.AsSpan(at), value);

    public static void Put64(byte[] file, int at, long value) => BinaryPrimitives.WriteInt64BigEndian(file.AsSpan(at), value);
}
