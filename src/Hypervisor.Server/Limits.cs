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

    /// <summary>Bounds of the embedded store.</summary>
    internal static class Sqlite
    {
        /// <summary>Transactions that wait for the commit thread; further callers wait for a place. StoreWriter sends one at a time.</summary>
        public const int QueuedTransactions = 1024;

        /// <summary>Transactions that share one commit: enough to amortise the fsync, few enough to answer the first soon.</summary>
        public const int TransactionsPerCommit = 128;

        /// <summary>Bytes that share one commit; more would spill SQLite's page cache in the middle of it.</summary>
        public const long BytesPerCommit = 4 * 1024 * 1024;

        /// <summary>Reading connections. Each has its own page cache, and the machine has few cores.</summary>
        public const int Readers = 4;

        /// <summary>Revisions kept in memory for watches; a slower watch reads history from the file.</summary>
        public const int RecentRevisions = 4096;

        /// <summary>Bytes of changes kept in memory for watches: a tenth of the server's memory budget.</summary>
        public const long RecentBytes = 8 * 1024 * 1024;

        /// <summary>Rows that one step of a watch, or one step of compaction, reads: about a millisecond of work.</summary>
        public const int RowsPerStep = 512;

        /// <summary>Bytes of values after which a step of a watch ends at the next revision.</summary>
        public const long BytesPerStep = 1024 * 1024;

        /// <summary>Revisions that one step of a watch takes from memory.</summary>
        public const int RevisionsPerStep = 64;
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

        /// <summary>Page size when none is asked for: a screenful of screens, some hundred KB.</summary>
        public const int DefaultPageSize = 500;

        /// <summary>Largest page of instances; summaries of so many are some 5 MB.</summary>
        public const int MaxInstancePage = 10_000;

        /// <summary>Largest page of nodes and images, which are shown in full.</summary>
        public const int MaxPage = 1000;

        /// <summary>Views kept for lists that are not finished. Views share what did not change between them.</summary>
        public const int ListPins = 16;

        /// <summary>Characters of a page token: two numbers and a key of two names and a separator, in base 64.</summary>
        public const int PageTokenLength = 1024;

        /// <summary>Characters of a label selector; what one line of a shell holds.</summary>
        public const int SelectorLength = 4096;

        /// <summary>Every watcher judges every change by all of them.</summary>
        public const int SelectorRequirements = 32;

        /// <summary>Values of one "in (…)".</summary>
        public const int SelectorValues = 64;

        /// <summary>Shortest beginning of a uid that is looked for: shorter ones are typing errors.</summary>
        public const int UidPrefixLength = 4;

        /// <summary>Holds a UUID with room; kept 16 times per instance.</summary>
        public const int RequestIdLength = 64;

        /// <summary>Watches at once; each costs some KB while idle.</summary>
        public const int Watches = 10_000;

        /// <summary>How long between two pages of a list: a person reading, not a night.</summary>
        public static readonly TimeSpan ListPinTime = TimeSpan.FromSeconds(60);

        /// <summary>How often an idle watch says how far it is: bounds what a client repeats after a broken connection.</summary>
        public static readonly TimeSpan WatchBookmarkInterval = TimeSpan.FromSeconds(10);

        /// <summary>How long a watch from a version that this replica has not reached waits: replicas lag by less.</summary>
        public static readonly TimeSpan WatchFutureWait = TimeSpan.FromSeconds(10);

        /// <summary>A client that takes no event for so long is gone or broken.</summary>
        public static readonly TimeSpan WatchWriteDeadline = TimeSpan.FromSeconds(30);

        /// <summary>When to come back while the store or the view is away: about the time of a failover's first retry.</summary>
        public static readonly TimeSpan RetryUnavailable = TimeSpan.FromSeconds(1);
    }

    /// <summary>Bounds of one instance: what its record may cost in the store, in memory and on a node.</summary>
    internal static class Instance
    {
        /// <summary>Of a create request: six such records fit into one store transaction.</summary>
        public const int RequestBytes = 256 * 1024;

        /// <summary>Requests in one bulk create: some hundred KB of answer.</summary>
        public const int BulkRequests = 1000;

        /// <summary>Mutations remembered per object, for retries.</summary>
        public const int RememberedRequests = 16;

        /// <summary>As Kubernetes users have them, with room.</summary>
        public const int Labels = 64;

        public const int Annotations = 64;

        /// <summary>Keys and values together.</summary>
        public const int AnnotationBytes = 16 * 1024;

        /// <summary>Labels a node must have.</summary>
        public const int NodeSelector = 16;

        public const int Disks = 16;

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

        /// <summary>1,024 CPUs.</summary>
        public const long MaxCpuMillicores = 1_024_000;

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
