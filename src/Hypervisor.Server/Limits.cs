namespace Hypervisor.Server;

/// <summary>Every bound of the server with the reason beside it.</summary>
internal static class Limits
{
    /// <summary>Bounds of the store's front; what the stores themselves take is in <c>Stores.StoreLimits</c>.</summary>
    internal static class Store
    {
        /// <summary>
        /// Writes that may wait behind the batch in flight. At 40,000 writes/s this is 0.2 s of work: a client that waits
        /// longer than that is served better by an answer that tells it to come back.
        /// </summary>
        public const int QueuedWrites = 8192;

        /// <summary>Bytes that may wait behind the batch in flight: about forty full batches.</summary>
        public const long QueuedWriteBytes = 64L * 1024 * 1024;

        /// <summary>
        /// Writes that forming one batch may pass over because their keys are taken. Bounds the work per batch when very
        /// many writers want one key.
        /// </summary>
        public const int PassedOverWrites = 512;

        /// <summary>When a refused writer should try again: the time in which a full queue drains.</summary>
        public static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(250);
    }

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

        /// <summary>The next piece of an upload: longer means that the client is gone.</summary>
        public static readonly TimeSpan UploadSilence = TimeSpan.FromSeconds(60);

        /// <summary>Blobs of deleted images are removed at once; this catches what a crash left behind.</summary>
        public static readonly TimeSpan CollectionInterval = TimeSpan.FromMinutes(10);

        /// <summary>When to try again while all places for imports are taken: a small image needs about as long.</summary>
        public static readonly TimeSpan RetryImport = TimeSpan.FromSeconds(5);

        /// <summary>Answered deletions remembered for repeated requests.</summary>
        public const int RememberedDeletions = 1024;

        /// <summary>Requests kept in an image's record; records.proto promises 16.</summary>
        public const int RememberedRequests = 16;

        public const int DefaultPageSize = 500;

        public const int MaxPageSize = 1000;
    }

    /// <summary>Bounds of the in-memory view and of what it feeds.</summary>
    internal static class State
    {
        /// <summary>Revisions a watcher may be behind before it has to resync: at 1,000 writes a second some seconds.</summary>
        public const int ChangeLogRevisions = 8192;

        /// <summary>Changed entries held for watchers; at some 1.5 KB for each superseded one this bounds the log to 50 MB.</summary>
        public const int ChangeLogEntries = 32768;

        /// <summary>Keys read at a time when the view is loaded: a few MB.</summary>
        public const int LoadPageKeys = 5000;

        /// <summary>Reading 100,000 instances takes a few seconds; longer means that the store hangs.</summary>
        public static readonly TimeSpan LoadDeadline = TimeSpan.FromSeconds(60);

        /// <summary>Stores report progress every few seconds; a watch silent for longer may be dead (dotnet-etcd issue 264).</summary>
        public static readonly TimeSpan WatchSilence = TimeSpan.FromSeconds(30);

        /// <summary>How long a read or a finished write waits for the view to catch up; a healthy one needs milliseconds.</summary>
        public static readonly TimeSpan ReadDeadline = TimeSpan.FromSeconds(5);

        /// <summary>Short: a store that restarts is back within a second.</summary>
        public static readonly TimeSpan RetryMinimum = TimeSpan.FromMilliseconds(50);

        /// <summary>Bounds how late a replica notices that the store is back.</summary>
        public static readonly TimeSpan RetryMaximum = TimeSpan.FromSeconds(5);
    }

    /// <summary>Bounds of what clients may ask for.</summary>
    internal static class Api
    {
        /// <summary>Violations listed in one answer: gRPC headers, which carry them, are bounded at 8 KiB by many clients.</summary>
        public const int FieldViolations = 32;

        /// <summary>When to come back while the store or the view is away: about the time of a failover's first retry.</summary>
        public static readonly TimeSpan RetryUnavailable = TimeSpan.FromSeconds(1);
    }
}
