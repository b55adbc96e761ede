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
}
