namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Every bound of the containerd driver, with its reason.</summary>
internal static class ContainerdLimits
{
    /// <summary>
    /// For calls that only touch containerd's metadata: answered in milliseconds, or containerd is stuck (stopped, its disk hanging).
    /// </summary>
    public static readonly TimeSpan Metadata = TimeSpan.FromSeconds(10);

    /// <summary>Is the runtime there: a probe must be done before the next heartbeat is due.</summary>
    public static readonly TimeSpan Probe = TimeSpan.FromSeconds(2);

    /// <summary>For calls that make runc work: 50 ms when idle, seconds when thirty start at once on two cores.</summary>
    public static readonly TimeSpan Runtime = TimeSpan.FromSeconds(60);

    /// <summary>
    /// For SIGKILL and for deleting a task, which take milliseconds: a call that was caught by a restart of containerd may stay
    /// unanswered, and then the cgroup is the way.
    /// </summary>
    public static readonly TimeSpan Ending = TimeSpan.FromSeconds(5);

    /// <summary>containerd needs some 100 ms to notice a dead shim and to clean up after it.</summary>
    public const int StartAttempts = 6;

    public static readonly TimeSpan StartBackoff = TimeSpan.FromMilliseconds(50);

    /// <summary>From SIGKILL to the end of every process: longer only for processes in uninterruptible sleep.</summary>
    public static readonly TimeSpan Kill = TimeSpan.FromSeconds(15);

    /// <summary>Between looks at a cgroup whose processes were killed.</summary>
    public static readonly TimeSpan KillPoll = TimeSpan.FromMilliseconds(10);

    /// <summary>Unpacking one layer: a 10 GiB layer at 20 MiB/s.</summary>
    public static readonly TimeSpan Unpack = TimeSpan.FromMinutes(10);

    /// <summary>Real layers unpack to less than 20 times their size; gzip's utmost is 1032. As the control plane judges archives.</summary>
    public const int CompressionRatio = 200;

    /// <summary>Up to here nothing is called a bomb: small layers of zeros compress without end.</summary>
    public const long BombGraceBytes = 64L << 20;

    /// <summary>Below, containerd decompresses as fast as the detour takes.</summary>
    public const long SmallestPlainLayer = 256 << 10;

    /// <summary>Above, the plain archive may not stay in the page cache until it is applied, and would be read from the disk.</summary>
    public const long LargestPlainLayer = 512 << 20;

    /// <summary>How far before it is unpacked a layer may be decompressed: bounds how many lie on the disk twice.</summary>
    public const int LayersAhead = 2 * ParallelFetches;

    /// <summary>Between looks at what a layer has written: real ones are mostly done by the first, a bomb writes a GiB or two.</summary>
    public static readonly TimeSpan BombLook = TimeSpan.FromSeconds(2);

    /// <summary>Between looks at the size of all images.</summary>
    public static readonly TimeSpan CacheLook = TimeSpan.FromMinutes(1);

    /// <summary>An image that was asked for is kept so long, whether or not a container holds it yet.</summary>
    public static readonly TimeSpan CacheGrace = TimeSpan.FromMinutes(10);

    /// <summary>How long an interrupted download keeps what it has. Longer than any download may pause.</summary>
    public static readonly TimeSpan LeaseLife = TimeSpan.FromHours(1);

    /// <summary>Leases to delete when containerd is back: as many as downloads may have been under way. More expire by themselves.</summary>
    public const int EndedLeases = 1000;

    /// <summary>So that one shim's death ends few containers, yet its memory is shared by several.</summary>
    public const int ContainersPerShim = 8;

    /// <summary>Manifests and configurations are a few KiB; containerd itself reads no more than 4 MiB of a manifest.</summary>
    public const int ManifestBytes = 4 << 20;

    /// <summary>containerd's gRPC server takes messages of 16 MiB; the control plane sends at most 1 MiB.</summary>
    public const int ChunkBytes = 1 << 20;

    /// <summary>Layers of one image: overlayfs takes 500 lower directories, Docker 127.</summary>
    public const int Layers = 127;

    /// <summary>Layers fetched at once: hides latency, without one image taking the whole link.</summary>
    public const int ParallelFetches = 3;

    /// <summary>To containerd, for contents: one each for what is fetched and what is decompressed at once.</summary>
    public const int TransferConnections = 2 * ParallelFetches;

    /// <summary>Images come in bursts; the connections are closed afterwards.</summary>
    public static readonly TimeSpan TransferIdle = TimeSpan.FromMinutes(1);

    /// <summary>Attempts to fetch one blob before the runner's own back-off takes over.</summary>
    public const int FetchAttempts = 5;

    public static readonly TimeSpan FetchBackoff = TimeSpan.FromMilliseconds(200);

    /// <summary>A FetchBlob stream that delivers nothing for so long is dead.</summary>
    public static readonly TimeSpan FetchStall = TimeSpan.FromSeconds(30);

    /// <summary>Entries of the caches of images and users: more than images a node holds; a miss costs milliseconds.</summary>
    public const int CachedImages = 256;

    /// <summary>/etc/passwd and /etc/group of images: larger ones are not read.</summary>
    public const int AccountFileBytes = 1 << 20;

    /// <summary>containerd refuses labels whose key and value together are longer.</summary>
    public const int LabelBytes = 4096;

    /// <summary>Of a runtime's message that is passed on to users.</summary>
    public const int MessageCharacters = 300;

    public const long DefaultPids = 4096;

    /// <summary>The kernel's own default ceiling (fs.nr_open). A node whose agent may have fewer gives fewer.</summary>
    public const ulong OpenFiles = 1_048_576;

    /// <summary>What a process starts with: some programs walk through every number up to it.</summary>
    public const ulong OpenFilesAtFirst = 65_536;

    /// <summary>What a layer of that size may unpack to.</summary>
    public static long LargestUnpacked(long packed) =>
        Math.Max(BombGraceBytes, packed > long.MaxValue / CompressionRatio ? long.MaxValue : packed * CompressionRatio);
}
