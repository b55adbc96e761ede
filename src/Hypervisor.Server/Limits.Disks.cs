namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of disk images and kernel sets.</summary>
    internal static class Disks
    {
        /// <summary>
        /// Looked at before anything is written: every header we know of lies in it, and the extensions of a qcow2 header, which QEMU
        /// itself keeps below some KiB.
        /// </summary>
        public const int HeadBytes = 64 * 1024;

        /// <summary>VHD and DMG describe themselves in the last sector.</summary>
        public const int TailBytes = 512;

        /// <summary>Disks consist of them.</summary>
        public const int SectorBytes = 512;

        /// <summary>One write; a block of zeros is left out of the file.</summary>
        public const int BlockBytes = 64 * 1024;

        /// <summary>As in QEMU (MIN_CLUSTER_BITS, MAX_CLUSTER_BITS in block/qcow2.h).</summary>
        public const int MinClusterBits = 9;

        public const int MaxClusterBits = 21;

        /// <summary>As in QEMU (QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE).</summary>
        public const long MaxL1Bytes = 32L << 20;

        public const long MaxRefcountTableBytes = 8L << 20;

        /// <summary>A kernel with all of its drivers has some 60 MiB uncompressed; this many fit below a 32-bit guest's first hole.</summary>
        public const long KernelBytes = 512L << 20;

        /// <summary>All of it is copied into the guest's memory before the guest starts.</summary>
        public const long InitramfsBytes = 2L << 30;

        /// <summary>Linux: LOGIN_NAME_MAX less its terminator is 255; useradd takes 32.</summary>
        public const int UserCharacters = 32;

        public const int OperatingSystemCharacters = 32;

        /// <summary>Of a URL: what proxies and servers take.</summary>
        public const int UrlCharacters = 2048;

        /// <summary>A storage refers to a mirror, that to a region, that to an edge.</summary>
        public const int Redirects = 8;

        /// <summary>Tries without any progress before the other side counts as down.</summary>
        public const int DownloadAttempts = 4;

        /// <summary>Tries of one download that each brought something: a transfer cut so often is worse than none.</summary>
        public const int DownloadInterruptions = 50;

        /// <summary>A file of checksums: one line per file of a release.</summary>
        public const int ChecksumsBytes = 1024 * 1024;

        /// <summary>In a file of aliases, which a person keeps.</summary>
        public const int Aliases = 256;

        /// <summary>Nothing arrives for so long: the other side is dead.</summary>
        public static readonly TimeSpan DownloadStall = TimeSpan.FromSeconds(30);

        /// <summary>A whole download, however slowly it trickles: the largest there may be, over a line of 50 Mbit/s.</summary>
        public static readonly TimeSpan Download = TimeSpan.FromHours(1);

        public static readonly TimeSpan DownloadBackoff = TimeSpan.FromMilliseconds(500);

        /// <summary>How long an agent waits for an alias's image in one call; the download goes on without it, and the agent asks again.</summary>
        public static readonly TimeSpan AliasAnswer = TimeSpan.FromSeconds(20);
    }
}
