namespace Hypervisor.Agent.Drivers.Libvirt;

/// <summary>Every bound of the libvirt driver, with its reason.</summary>
internal static class LibvirtLimits
{
    /// <summary>Calls under way at once, each on a thread: libvirtd itself has twenty workers, and a mute one must not cost more threads than these.</summary>
    public const int Calls = 8;

    /// <summary>Of those that write or read the memory of a guest, which take long: they share one disk, and must not keep questions waiting.</summary>
    public const int Transfers = 4;

    /// <summary>Of those threads, in bytes: libvirt's own calls need some ten KiB.</summary>
    public const int StackBytes = 512 * 1024;

    /// <summary>A question. One that takes longer is not answered: libvirtd is stopped, or waits for a QEMU that is.</summary>
    public static readonly TimeSpan Query = TimeSpan.FromSeconds(5);

    /// <summary>A question that libvirtd passes on to QEMU: it answers when its guest lets it, which a CPU limit and a busy node make seconds.</summary>
    public static readonly TimeSpan Measure = TimeSpan.FromSeconds(15);

    /// <summary>A change of state: starting a machine takes libvirtd 0.3 s, and ten times that on a busy node; it gives QEMU 15 s to end.</summary>
    public static readonly TimeSpan Change = TimeSpan.FromSeconds(30);

    /// <summary>For the word of an agent in a guest: it has everything written first.</summary>
    public const int AgentSeconds = 10;

    /// <summary>Memory from or to the disk: 256 GiB at 400 MiB/s.</summary>
    public static readonly TimeSpan Transfer = TimeSpan.FromMinutes(11);

    /// <summary>Opening a connection, on a socket of the same machine.</summary>
    public static readonly TimeSpan Open = TimeSpan.FromSeconds(5);

    /// <summary>libvirt's own watch over the connection: after three unanswered ones it is closed, and with it every call that waits on it ends.</summary>
    public const int KeepAliveSeconds = 5;

    public const uint KeepAliveCount = 3;

    /// <summary>Between attempts to connect: doubled after each that failed, up to the second.</summary>
    public static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(250);

    public static readonly TimeSpan LongestRetry = TimeSpan.FromSeconds(10);
}
