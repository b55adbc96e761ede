namespace Hypervisor.Agent.Networking;

/// <summary>Every bound of the node network, with its reason.</summary>
internal static class NetworkLimits
{
    /// <summary>Calls waiting for the network thread. Each takes a few milliseconds; callers beyond this wait for a place.</summary>
    public const int QueuedCalls = 1024;

    /// <summary>Each blocks a thread of the pool for some 25 ms; the kernel's waits overlap.</summary>
    public const int ConcurrentDepartures = 4;

    /// <summary>A netlink request is answered by the kernel itself, in microseconds unless another holder of its lock stalls.</summary>
    public static readonly TimeSpan NetlinkDeadline = TimeSpan.FromSeconds(5);

    /// <summary>The kernel fills at most 32 KiB per datagram of a dump.</summary>
    public const int NetlinkBufferBytes = 64 * 1024;

    /// <summary>A dump interrupted by changes so often is taken as it is: the next repair looks again.</summary>
    public const int DumpAttempts = 4;

    /// <summary>As the API allows; see NetworkSpec.</summary>
    public const int PublishedPortsPerInstance = 64;

    /// <summary>A record is a few hundred bytes plus some hundred per port.</summary>
    public const long RecordFileBytes = 64 * 1024;

    /// <summary>Mounts stacked on one namespace file; one is normal, each crash between mount and record adds none.</summary>
    public const int StackedMounts = 16;

    /// <summary>How long disposal waits for the call that is running.</summary>
    public static readonly TimeSpan StopDeadline = TimeSpan.FromSeconds(10);
}
