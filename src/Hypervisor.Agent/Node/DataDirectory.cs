namespace Hypervisor.Agent.Node;

/// <summary>The agent's data directory belongs to one agent at a time (SingleWriter begins here).</summary>
internal static class DataDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Held until disposed, or until the process ends in whatever way: the lock is the kernel's (flock(2)).</summary>
    /// <exception cref="IOException">Another agent holds it, or it cannot be made; the message says which.</exception>
    public static IDisposable Hold(string directory)
    {
        Directory.CreateDirectory(directory, OwnerOnly | UnixFileMode.UserExecute);
        var path = Path.Combine(directory, "agent.lock");
        try
        {
            // FileShare.None is flock(LOCK_EX | LOCK_NB) on Linux.
            return new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                UnixCreateMode = OwnerOnly,
            });
        }
        catch (IOException taken)
        {
            throw new IOException($"data_dir {directory} is used by another agent, or cannot be written ({taken.Message}). Stop the other one, or give this one another data_dir.", taken);
        }
    }
}
