using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>A port of a node that an instance publishes on.</summary>
/// <param name="Address">IPv4 address of the node; empty means all of them.</param>
internal readonly record struct PortClaim(int Port, IpProtocol Protocol, string Address)
{
    public static PortClaim Of(PublishedPort port) =>
        new(port.HostPort, port.Protocol == IpProtocol.Udp ? IpProtocol.Udp : IpProtocol.Tcp, port.HostIp);

    /// <summary>Both cannot be listened on at once: "all addresses" collides with each single one.</summary>
    public bool ConflictsWith(PortClaim other) =>
        Port == other.Port && Protocol == other.Protocol &&
        (Address.Length == 0 || other.Address.Length == 0 || Address == other.Address);

    public override string ToString() => $"{Port}/{(Protocol == IpProtocol.Udp ? "udp" : "tcp")}";
}
