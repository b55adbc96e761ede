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
            file = new FileStream(
                path,
                new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate,
                    Access = FileAccess.ReadWrite,
                    Share = FileShare.None,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StoreUnavailableException(
                File.Exists(path) && exception is not UnauthorizedAccessException
                    ? $"{databasePath} is in use by {Holder(path)}: stop that server, or give this one another data directory."
                    : $"{path} cannot be created ({exception.Message}): check that the folder exists and may be written.",
                exception);
        }

        file.SetLength(0);
        file.Write(System.Text.Encoding.ASCII.GetBytes($"{Environment.ProcessId}\n"));
        file.Flush();
        return file;
    }

    private static string Holder(string path)
    {
        try
        {
            // Read access that shares everything takes no lock.
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using var reader = new StreamReader(file);
            return int.TryParse(reader.ReadLine(), out var process) ? $"process {process}" : "another process";
        }
        catch (IOException)
        {
            return "another process";
        }
    }
}
