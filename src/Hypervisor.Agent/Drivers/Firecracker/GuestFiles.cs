namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>
/// Names of a guest's files, relative to Firecracker's working folder: the same in a jail, outside one, and in whatever guest goes on from a
/// snapshot, which remembers them.
/// </summary>
internal static class GuestFiles
{
    /// <summary>In a jail this folder is the guest's run directory, so that sockets are where a path to them is short.</summary>
    public const string Sockets = "sockets";

    public const string ApiSocket = "sockets/api";
    public const string ChannelSocket = "sockets/channel";
    public const string Kernel = "kernel";
    public const string Initramfs = "initramfs";
    public const string Log = "log";
    public const string Metrics = "metrics";
    public const string SavedMemory = "saved.memory";
    public const string SavedState = "saved.state";
    public const string RestoredMemory = "restored.memory";
    public const string RestoredState = "restored.state";

    /// <summary>What firecracker writes to standard error, in the run directory.</summary>
    public const string Errors = "errors";

    public static string Disk(string name) => "disk-" + name;

    /// <summary>Drive ids are letters, digits and underscores; names have no underscores, so that no two become one.</summary>
    public static string DriveId(string name) => name.Replace('-', '_');
}
