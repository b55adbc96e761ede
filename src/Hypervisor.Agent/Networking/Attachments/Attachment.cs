using System.Net;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Networking.Attachments;

/// <summary>What one instance holds of this network.</summary>
/// <param name="Epoch">Of the placement that asked last; 0 for one found without its record.</param>
/// <param name="Subnet">The one the address was taken from: the node's may have changed since.</param>
internal sealed record Attachment(InstanceId Id, Epoch Epoch, IPAddress Address, Ipv4Subnet Subnet, IReadOnlyList<Publication> Ports)
{
    /// <summary>The host's end of the cable; unique because the address is, and within the kernel's 15 characters.</summary>
    public string LinkName => LinkPrefix + Convert.ToHexStringLower(Address.GetAddressBytes());

    /// <summary>What `ip link` shows people, and what finds the cable of an instance whose record was lost.</summary>
    public string LinkAlias => AliasOf(Id);

    public static string LinkPrefix => "hv-";

    public static string AliasOf(InstanceId id) => "instance " + id.Value;
}

internal enum PortProtocol
{
    Tcp,
    Udp,
}

/// <summary>A port of the node that leads to one of an instance.</summary>
/// <param name="HostAddress">The node's address to listen on; <see cref="IPAddress.Any"/> for all.</param>
internal sealed record Publication(PortProtocol Protocol, IPAddress HostAddress, int HostPort, int InstancePort)
{
    public bool OnEveryAddress => HostAddress.Equals(IPAddress.Any);

    /// <summary>Whether a packet could be meant for both.</summary>
    public bool CollidesWith(Publication other) =>
        Protocol == other.Protocol && HostPort == other.HostPort
        && (OnEveryAddress || other.OnEveryAddress || HostAddress.Equals(other.HostAddress));

    public override string ToString() => $"{(Protocol == PortProtocol.Udp ? "udp" : "tcp")} {HostAddress}:{HostPort}";
}
