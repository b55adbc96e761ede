namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>
/// Keeps a second server off the same file. A file of its own: closing any descriptor of the database would drop the
/// process's POSIX locks on it, by which SQLite's connections know each other.
/// </summary>
internal static class StoreLock
{
    /// <returns>Held until disposed; the kernel frees it when the process dies.</returns>
    /// <exception cref="StoreUnavailableException">Somebody holds it, or it cannot be created.</exception>
    public static FileStream Acquire(string databasePath)
    {
        var path = databasePath + ".lock";
        FileStream file;
        try
        {
            file = new FileStream(path, Private(FileMode.OpenOrCreate, FileShare.None));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StoreUnavailableException(
                File.Exists(path) && exception is not UnauthorizedAccessException
                    ? $"{databasePath} is in use by {Holder(databasePath)}: stop that server, or give this one another data directory."
                    : $"{path} cannot be created ({exception.Message}): check that the folder exists and may be written.",
                exception);
        }

        WriteOwner(databasePath);
        return file;
    }

    /// <summary>Beside the lock, since reading a file that somebody has locked is refused as well.</summary>
    private static void WriteOwner(string databasePath)
    {
        try
        {
            using var owner = new FileStream(databasePath + ".pid", Private(FileMode.Create, FileShare.Read));
            owner.Write(System.Text.Encoding.ASCII.GetBytes($"{Environment.ProcessId}\n"));
        }
        catch (IOException)
        {
            // On a full disk the store still opens, to be read and compacted; a second opener then learns no number.
        }
    }

    private static FileStreamOptions Private(FileMode mode, FileShare share) => new()
    {
        Mode = mode,
        Access = FileAccess.ReadWrite,
        Share = share,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
    };

    private static string Holder(string databasePath)
    {
        try
        {
            using var reader = new StreamReader(databasePath + ".pid");
            return int.TryParse(reader.ReadLine(), out var process) ? $"process {process}" : "another process";
        }
        catch (IOException)
        {
            return "another process";
        }
    }
}
