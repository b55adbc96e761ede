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

        /// <summary>Short: a store that restarts is back within a second.</summary>
        public static readonly TimeSpan RetryMinimum = TimeSpan.FromMilliseconds(50);

        /// <summary>Bounds how late a replica notices that the store is back.</summary>
        public static readonly TimeSpan RetryMaximum = TimeSpan.FromSeconds(5);
    }
}
