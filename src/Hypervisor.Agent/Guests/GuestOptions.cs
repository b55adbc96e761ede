using System.Net;
using Hypervisor.Agent.Guests.Boot;

namespace Hypervisor.Agent.Guests;

/// <summary>Where the guests of one type are kept, and what they are given.</summary>
internal sealed record GuestOptions
{
    /// <summary>A folder per guest; of guests of this type alone.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Likewise, for what does not survive a reboot. With a uid and a socket's name at most 107 bytes.</summary>
    public required string RunDirectory { get; init; }

    /// <summary>Our kernel and initramfs.</summary>
    public required GuestBootFiles Boot { get; init; }

    /// <summary>Resolvers of instances that name none; none means the node's own.</summary>
    public IReadOnlyList<IPAddress> DnsServers { get; init; } = [];

    /// <summary>Changes with each boot of the host.</summary>
    public required string BootId { get; init; }
}
