namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>
/// The file's layout. <c>history</c> is the log, appended to in revision order: a row's id is its revision and its place in
/// it. Each row names the row that it superseded, so <c>heads</c> (the newest row of each key, deletions included until
/// they are compacted) is the only index: an older state is reached by walking back.
/// </summary>
internal static class Schema
{
    /// <summary>A transaction has fewer changes than this holds: 1.5 MiB at 33 bytes or more each.</summary>
    public const int OrdinalBits = 16;

    /// <summary>etcd's first revision, of the empty store.</summary>
    public const long FirstRevision = 1;

    private const int ApplicationId = 0x5A585331;
    private const int Version = 1;

    /// <summary>The first possible row of a revision.</summary>
    public static long FirstId(long revision) => revision << OrdinalBits;

    public static long Revision(long id) => id >> OrdinalBits;

    /// <summary>Sets up a connection; the settings live in the connection and not in the file.</summary>
    public static void Configure(Database database, int cacheKiB)
    {
        // WAL: readers do not block the writer. FULL: a commit is on the disk before it returns (in WAL NORMAL is not).
        database.Execute("PRAGMA journal_mode=WAL");
        database.Execute("PRAGMA synchronous=FULL");
        database.Execute("PRAGMA temp_store=MEMORY");
        database.Execute($"PRAGMA cache_size=-{cacheKiB}");

        // Fewer, larger checkpoints: each costs two more fsyncs. 16 MiB of WAL at most are replayed after a crash.
        database.Execute("PRAGMA wal_autocheckpoint=4096");
    }

    /// <summary>Creates what is missing.</summary>
    /// <exception cref="StoreUnavailableException">The file is something else, or of a newer version.</exception>
    public static void CreateOrCheck(Database database, string path)
    {
        var application = database.Scalar("PRAGMA application_id");
        var version = database.Scalar("PRAGMA user_version");
        var isNew = application == 0 && version == 0 && database.Scalar("SELECT count(*) FROM sqlite_schema") == 0;
        if (isNew)
        {
            database.Execute($"""
                BEGIN IMMEDIATE;
                CREATE TABLE history (
                    id INTEGER PRIMARY KEY,
                    key TEXT NOT NULL,
                    created INTEGER NOT NULL,
                    version INTEGER NOT NULL, -- 0: deleted
                    previous INTEGER NOT NULL, -- 0: none
                    value BLOB NOT NULL
                ) STRICT;
                CREATE TABLE heads (
                    key TEXT PRIMARY KEY,
                    id INTEGER NOT NULL,
                    created INTEGER NOT NULL,
                    version INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE TABLE meta (
                    compacted INTEGER NOT NULL, -- the oldest readable revision; 0: all
                    swept INTEGER NOT NULL -- compaction has dealt with all rows up to this id
                ) STRICT;
                INSERT INTO meta VALUES (0, 0);
                PRAGMA application_id={ApplicationId};
                PRAGMA user_version={Version};
                COMMIT;
                """);
            return;
        }

        if (application != ApplicationId)
        {
            throw new StoreUnavailableException(
                $"{path} is an SQLite file of another program: name another data directory, or move the file away.");
        }

        if (version != Version)
        {
            throw new StoreUnavailableException(
                $"{path} has format {version}, this server knows format {Version}: start the version of the server that wrote it.");
        }
    }
}
