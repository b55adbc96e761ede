namespace Hypervisor.Server;

internal static partial class Limits
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

        /// <summary>
        /// Batches at the store at once: 1,000 writers fill eight, and the embedded store commits as many with one fsync. More
        /// would only wait there instead of here.
        /// </summary>
        public const int BatchesInFlight = 8;

        /// <summary>When a refused writer should try again: the time in which a full queue drains.</summary>
        public static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(250);
    }

    /// <summary>Bounds of backups.</summary>
    internal static class Backups
    {
        /// <summary>Records read and held at a time; at 256 KiB for the largest this is 64 MiB.</summary>
        public const int PageKeys = 256;

        /// <summary>One message of the stream, well below what clients take.</summary>
        public const int ChunkBytes = 256 * 1024;

        /// <summary>Records of one transaction of a restore: half of what a store takes.</summary>
        public const int RecordsPerWrite = 64;

        /// <summary>Bytes of one transaction of a restore; a single record may be larger.</summary>
        public const int BytesPerWrite = 512 * 1024;
    }

    /// <summary>Bounds of what etcd is asked for and of how long an answer is waited for.</summary>
    internal static class Etcd
    {
        /// <summary>Keys of one range call. etcd counts all keys of the range for each call, so small pages cost the square.</summary>
        public const int PageKeys = 1000;

        /// <summary>A page of the largest records, or one revision's changes: 1,000 times 256 KiB.</summary>
        public const int ReceivedMessageBytes = 256 * 1024 * 1024;

        /// <summary>
        /// One attempt at one member. An election takes etcd one to two seconds, its slowest healthy fsync less; past this the
        /// member is taken for stopped.
        /// </summary>
        public static readonly TimeSpan AttemptDeadline = TimeSpan.FromSeconds(4);

        /// <summary>A call with all its attempts: two members that do not answer, and one that does.</summary>
        public static readonly TimeSpan CallDeadline = TimeSpan.FromSeconds(10);

        /// <summary>Between attempts, so that a member that refuses at once is not asked a thousand times a second.</summary>
        public static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(50);

        /// <summary>Between two connections to a member that refuses them: one that restarts is back within a second.</summary>
        public static readonly TimeSpan ReconnectMinimum = TimeSpan.FromMilliseconds(50);

        public static readonly TimeSpan ReconnectMaximum = TimeSpan.FromSeconds(1);

        /// <summary>
        /// A watch that was silent for so long has to prove that it lives: <c>State.WatchSilence</c> is three times as long.
        /// </summary>
        public static readonly TimeSpan WatchQuiet = TimeSpan.FromSeconds(8);

        /// <summary>etcd delivers a marker within milliseconds; a watch that does not is replaced.</summary>
        public static readonly TimeSpan MarkerDeadline = TimeSpan.FromSeconds(2);

        /// <summary>
        /// Pings on connections that carry calls. etcd closes a connection that pings more often than every 5 s
        /// (--grpc-keepalive-min-time).
        /// </summary>
        public static readonly TimeSpan PingDelay = TimeSpan.FromSeconds(6);

        /// <summary>With <see cref="PingDelay"/>: a peer that vanished is noticed within ten seconds.</summary>
        public static readonly TimeSpan PingTimeout = TimeSpan.FromSeconds(4);

        /// <summary>A watch that failed so often in a row, without a change in between, is given back to its reader.</summary>
        public const int WatchFailures = 4;
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
}
