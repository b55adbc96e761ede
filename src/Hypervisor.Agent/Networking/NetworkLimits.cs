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

    /// <summary>Of Ethernet without options (RFC 894): what a host without a default route gets.</summary>
    public const int EthernetMtu = 1500;

    /// <summary>Every IPv4 host takes a packet of this size (RFC 791).</summary>
    public const int SmallestMtu = 576;

    /// <summary>Of a tap: 65535 less the Ethernet header (drivers/net/tun.c).</summary>
    public const int LargestMtu = 65521;

    /// <summary>As the API allows; see NetworkSpec. A resolver's file has no room for more either.</summary>
    public const int DnsServersPerInstance = 3;

    /// <summary>Of all search domains of an instance together: a DHCP option holds 255 bytes (RFC 2132).</summary>
    public const int SearchCharacters = 240;

    /// <summary>As the API allows; see NetworkRates. Above 17 GiB/s the kernel's sums for the packet filter's limits overflow.</summary>
    public const long LargestRate = 10L << 30;

    /// <summary>
    /// Bytes that pass at once besides a second's worth: a network stack hands on up to 64 KiB as one packet, and one that is larger than what may pass at once
    /// would never pass.
    /// </summary>
    public const long SmallestBurst = 128 * 1024;

    /// <summary>dnsmasq says within some 60 ms whether it could start; then the network thread waits no longer for it.</summary>
    public static readonly TimeSpan DhcpStartDeadline = TimeSpan.FromSeconds(5);

    /// <summary>Until a DHCP server that was asked to end is killed.</summary>
    public static readonly TimeSpan DhcpStopDeadline = TimeSpan.FromSeconds(2);

    /// <summary>A DHCP server that ran so long is started again at once; one that ended earlier after a wait that doubles.</summary>
    public static readonly TimeSpan DhcpSteadyRun = TimeSpan.FromMinutes(1);

    public static readonly TimeSpan DhcpFirstWait = TimeSpan.FromSeconds(1);

    public static readonly TimeSpan DhcpLongestWait = TimeSpan.FromMinutes(1);

    /// <summary>A record is a few hundred bytes plus some hundred per port.</summary>
    public const long RecordFileBytes = 64 * 1024;

    /// <summary>Mounts stacked on one namespace file; one is normal, each crash between mount and record adds none.</summary>
    public const int StackedMounts = 16;

    /// <summary>How long disposal waits for the call that is running.</summary>
    public static readonly TimeSpan StopDeadline = TimeSpan.FromSeconds(10);
}
