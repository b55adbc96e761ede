namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of one instance: what its record may cost in the store, in memory and on a node.</summary>
    internal static class Instance
    {
        /// <summary>Of a create request: six such records fit into one store transaction.</summary>
        public const int RequestBytes = 256 * 1024;

        /// <summary>Requests in one bulk create: at 1.5 KB each, 15 MB of answer.</summary>
        public const int BulkRequests = 10_000;

        /// <summary>Batches of one bulk create on their way at once, 1,024 instances: what a commit takes, so that others are served meanwhile.</summary>
        public const int BulkBatchesInFlight = 64;

        /// <summary>Mutations remembered per object, for retries.</summary>
        public const int RememberedRequests = 16;

        /// <summary>As Kubernetes users have them, with room.</summary>
        public const int Labels = 64;

        public const int Annotations = 64;

        /// <summary>Keys and values together.</summary>
        public const int AnnotationBytes = 16 * 1024;

        /// <summary>Labels a node must have.</summary>
        public const int NodeSelector = 16;

        /// <summary>Of affinity and of anti-affinity each: each is a count that every placement of the project may change.</summary>
        public const int AffinityTerms = 8;

        /// <summary>Zone, region, rack and one more.</summary>
        public const int SpreadConstraints = 4;

        /// <summary>Beyond it a bound is none.</summary>
        public const int MaxSkew = 1000;

        /// <summary>As many as a node has taints.</summary>
        public const int Tolerations = 16;

        /// <summary>Either side of normal: more classes than people tell apart.</summary>
        public const int Priority = 1000;

        /// <summary>Names of devices that one asks for, or that a node has: a few kinds, each perhaps in several sizes. Likewise in the agent.</summary>
        public const int Devices = 32;

        /// <summary>Of one name: eight cards in seven slices each are 56, and sums over all nodes still fit 32 bits. Likewise in the agent.</summary>
        public const int DeviceCount = 1024;

        public const int Disks = 16;

        /// <summary>Each is a file for each disk, and the chain of a disk's files is opened as a whole: more would slow every start down.</summary>
        public const int Snapshots = 32;

        public const int Ports = 64;

        /// <summary>resolv.conf(5): MAXNS.</summary>
        public const int DnsServers = 3;

        /// <summary>resolv.conf(5): six before glibc 2.26, which images still have.</summary>
        public const int DnsSearch = 6;

        /// <summary>Entries of command and of args each.</summary>
        public const int Arguments = 1024;

        /// <summary>Characters of one argument or value; Linux takes 128 KiB (MAX_ARG_STRLEN).</summary>
        public const int ArgumentLength = 32 * 1024;

        /// <summary>Of command and args together.</summary>
        public const int ArgumentBytes = 128 * 1024;

        public const int Environment = 512;

        /// <summary>Names and values together.</summary>
        public const int EnvironmentBytes = 128 * 1024;

        /// <summary>Linux: PATH_MAX.</summary>
        public const int PathLength = 4096;

        /// <summary>Linux: PID_MAX_LIMIT.</summary>
        public const int MaxPids = 4_194_304;

        /// <summary>A packet as large as network stacks make them (64 KiB) takes a second; below that nothing would seem to work.</summary>
        public const long MinBytesPerSecond = 64L << 10;

        /// <summary>The packet filter counts bytes in billionths of a second, in 64 bits, which ends at 17 GiB/s.</summary>
        public const long MaxBytesPerSecond = 10L << 30;

        /// <summary>A boot reads some thousand times.</summary>
        public const long MinOperationsPerSecond = 10;

        /// <summary>More than any one device does.</summary>
        public const long MaxOperationsPerSecond = 10_000_000;

        /// <summary>1,024 CPUs.</summary>
        public const long MaxCpuMillicores = 1_024_000;

        /// <summary>At the longest wait between two, four years.</summary>
        public const int MaxRestarts = 1_000_000;

        public const int HealthPathCharacters = 1024;

        /// <summary>When the spec says nothing: soon enough for a person, and a thousand instances are asked a hundred times a second.</summary>
        public static readonly TimeSpan HealthInterval = TimeSpan.FromSeconds(10);

        public static readonly TimeSpan HealthTimeout = TimeSpan.FromSeconds(2);

        /// <summary>A process has to be started for it: 50 ms when the node is idle, seconds when it is not.</summary>
        public static readonly TimeSpan ExecCheckTimeout = TimeSpan.FromSeconds(5);

        /// <summary>Below, not even a static binary starts.</summary>
        public const long MinMemoryBytes = 4L << 20;

        /// <summary>64 TiB: more than a machine has.</summary>
        public const long MaxMemoryBytes = 64L << 40;

        /// <summary>1 PiB; sums of many still fit 64 bits.</summary>
        public const long MaxDiskBytes = 1L << 50;

        /// <summary>How often a mutation tries again when others change the same object: each loss is somebody's progress.</summary>
        public const int MutationAttempts = 16;

        public static readonly TimeSpan MaxGracePeriod = TimeSpan.FromHours(1);
    }
}
