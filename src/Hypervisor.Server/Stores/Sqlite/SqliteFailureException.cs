using SQLitePCL;

namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>What SQLite said, in words for the person who runs the server.</summary>
internal sealed class SqliteFailureException(string path, int code, string message)
    : Exception($"SQLite error {code} ({message}) on {path}.")
{
    private readonly int _primary = code & 0xFF;

    /// <summary>The connection is as good as before; everything else is met by opening a new one.</summary>
    public bool IsDiskFull => _primary == raw.SQLITE_FULL;

    public StoreUnavailableException ToUnavailable() => new(
        _primary switch
        {
            raw.SQLITE_FULL =>
                $"The disk that holds {path} is full, nothing was written: free space there (or compact the store); writes work again by themselves.",
            raw.SQLITE_IOERR =>
                $"The disk that holds {path} reported an error ({Detail}): look at the kernel's log and the file system; writes are tried again by themselves.",
            raw.SQLITE_READONLY or raw.SQLITE_PERM or raw.SQLITE_CANTOPEN or raw.SQLITE_AUTH =>
                $"{path} cannot be opened for writing ({Detail}): check that the folder exists, its owner and mode, and that its file system is mounted read-write.",
            raw.SQLITE_CORRUPT or raw.SQLITE_NOTADB =>
                $"{path} is damaged or is not a store ({Detail}): stop the server and restore a backup.",
            raw.SQLITE_NOMEM =>
                $"No memory is left to work on {path}: give the server more, or the machine fewer tasks.",
            raw.SQLITE_BUSY or raw.SQLITE_LOCKED or raw.SQLITE_PROTOCOL =>
                $"{path} is locked by another program ({Detail}): close what has it open, for example a sqlite3 shell.",
            _ => $"{path}: {Detail}.",
        },
        this);

    private string Detail => $"SQLite error {code}, {message}";
}
