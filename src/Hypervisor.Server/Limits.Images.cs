namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>Bounds of what an image archive may ask of the server; those that operators set are in the configuration.</summary>
    internal static class Images
    {
        /// <summary>Files of an archive itself: a layer is one file, and images have at most some hundred.</summary>
        public const int ArchiveEntries = 20_000;

        /// <summary>Files of one layer: a full distribution has some hundred thousand.</summary>
        public const int LayerEntries = 2_000_000;

        /// <summary>What overlayfs takes as lower directories in one page of mount options, as with Docker.</summary>
        public const int Layers = 127;

        /// <summary>Extended headers of one entry: Linux bounds an extended attribute at 64 KiB, and a path at 4 KiB.</summary>
        public const int TarMetadataBytes = 256 * 1024;

        /// <summary>PATH_MAX with its terminator.</summary>
        public const int PathBytes = 4096;

        /// <summary>Index, manifest and configuration: registries refuse manifests above 4 MiB.</summary>
        public const int JsonBytes = 4 * 1024 * 1024;

        /// <summary>An index names manifests, which may be indices: real archives nest twice.</summary>
        public const int IndexDepth = 4;

        /// <summary>Manifests looked at in one archive.</summary>
        public const int Manifests = 1000;

        /// <summary>Environment entries, arguments and ports each: what fits the kernel's 128 KiB per string many times over.</summary>
        public const int ConfigItems = 1024;

        /// <summary>MAX_ARG_STRLEN: no process can be given a longer string.</summary>
        public const int ConfigStringBytes = 128 * 1024;

        /// <summary>Up to here nothing is called a bomb: small layers of zeros compress without end.</summary>
        public const long RatioGraceBytes = 64L * 1024 * 1024;

        /// <summary>Real layers stay below 20; gzip's utmost is 1032.</summary>
        public const int CompressionRatio = 200;

        /// <summary>Of one message of FetchBlob; agent.proto promises it.</summary>
        public const int FetchChunkBytes = 1024 * 1024;

        /// <summary>The next byte of an upload: longer means that the client is gone. The whole is bounded by its size.</summary>
        public static readonly TimeSpan UploadSilence = TimeSpan.FromSeconds(60);

        /// <summary>Blobs of deleted images are removed at once; this catches what a crash left behind.</summary>
        public static readonly TimeSpan CollectionInterval = TimeSpan.FromMinutes(10);

        /// <summary>
        /// How long blobs stay when the store did not say whether their record was committed: a request that the store has
        /// taken in is committed or dropped within seconds.
        /// </summary>
        public static readonly TimeSpan UncertainLease = TimeSpan.FromMinutes(10);

        /// <summary>When to try again while all places for imports are taken: a small image needs about as long.</summary>
        public static readonly TimeSpan RetryImport = TimeSpan.FromSeconds(5);

        /// <summary>Answered deletions remembered for repeated requests.</summary>
        public const int RememberedDeletions = 1024;

        /// <summary>Requests kept in an image's record; records.proto promises 16.</summary>
        public const int RememberedRequests = 16;

        public const int DefaultPageSize = 500;

        public const int MaxPageSize = 1000;
    }

    /// <summary>Bounds of what is asked of image registries; those of single requests are in <c>Hosting.Registries</c>.</summary>
    internal static class Registries
    {
        /// <summary>Lookups of different images at once; more wait within their deadline.</summary>
        public const int Lookups = 32;

        /// <summary>An index, a manifest and a configuration, tries included. Agents wait a little longer.</summary>
        public static readonly TimeSpan Lookup = TimeSpan.FromSeconds(45);

        /// <summary>So long a failure answers for the registry: shorter than a person needs to correct it.</summary>
        public static readonly TimeSpan FailureRemembered = TimeSpan.FromSeconds(5);

        /// <summary>Different images that failed lately.</summary>
        public const int RememberedFailures = 1024;

        /// <summary>Layers of one pull at once: hides latency, as with containerd.</summary>
        public const int ParallelLayers = 3;

        /// <summary>Between two reports of a pull: fluent for a person, nothing for the network.</summary>
        public static readonly TimeSpan ProgressInterval = TimeSpan.FromMilliseconds(100);
    }
}
