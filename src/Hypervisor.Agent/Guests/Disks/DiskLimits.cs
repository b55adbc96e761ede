namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Every bound of disks and of the tools that make them, with its reason.</summary>
internal static class DiskLimits
{
    /// <summary>mke2fs needs 3 MB; the rest is libraries, and hard links, of which it remembers each.</summary>
    public const long MakeMemoryBytes = 512L << 20;

    /// <summary>mke2fs takes 1 s for 400 MB. It looks through a directory for each entry that it adds: 65,000 in one take it two minutes.</summary>
    public static readonly TimeSpan MakeCpu = TimeSpan.FromMinutes(10);

    /// <summary>10 GiB at 20 MiB/s, or the processor time above on a machine that has other work.</summary>
    public static readonly TimeSpan Make = TimeSpan.FromMinutes(20);

    /// <summary>Between hints to the kernel to write what mke2fs has written: less than the disk takes for as much.</summary>
    public static readonly TimeSpan WriteAhead = TimeSpan.FromMilliseconds(100);

    /// <summary>Creating, growing, asking: qemu-img touches some clusters. Its address space is mostly libraries and thread stacks.</summary>
    public const long ImageMemoryBytes = 2L << 30;

    public static readonly TimeSpan ImageCpu = TimeSpan.FromSeconds(30);

    public static readonly TimeSpan ImageCall = TimeSpan.FromSeconds(60);

    /// <summary>Sizes and files of images that empty overlays are remembered of: as many as a node is likely to start instances of within a short time.</summary>
    public const int EmptyOverlays = 16;

    /// <summary>Of one that is remembered: the usual takes 200 KiB, and one of 16 TiB some MiB.</summary>
    public const long EmptyOverlayBytes = 512 * 1024;

    /// <summary>Copies and merges of whole disks: 1 TiB at 100 MB/s takes three hours.</summary>
    public static readonly TimeSpan CopyCpu = TimeSpan.FromHours(1);

    public static readonly TimeSpan Copy = TimeSpan.FromHours(4);

    /// <summary>What is kept of what a tool writes: enough for its error.</summary>
    public const int ToolOutputBytes = 64 * 1024;

    /// <summary>What a guest of an OCI image may add before its disk has to be asked for larger; sparse, so it costs nothing.</summary>
    public const long FreeBytes = 1L << 30;

    /// <summary>Files that a guest may add to those of its image.</summary>
    public const long FreeInodes = 65_536;

    /// <summary>Grows with the file system when it is grown; ext4's own choice for this size.</summary>
    public const int JournalMiB = 32;

    /// <summary>A root file system that was asked for is kept so long, whether or not a disk is made over it yet.</summary>
    public static readonly TimeSpan CacheGrace = TimeSpan.FromMinutes(10);

    /// <summary>As qcow2 and ext4 can: larger is a mistake.</summary>
    public const long LargestDiskBytes = 16L << 40;

    /// <summary>Disks are whole file system blocks.</summary>
    public const int BlockBytes = 4096;

    /// <summary>Of records of disks, 32 snapshots of 16 disks included.</summary>
    public const int RecordBytes = 256 * 1024;

    /// <summary>One step of a copy, between looks at whether it is still wanted.</summary>
    public const long CopyStepBytes = 32L << 20;
}
