using System.Globalization;
using System.Net;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Networking.Attachments;

/// <summary>What one instance holds of this network.</summary>
/// <param name="Epoch">Of the placement that asked last; 0 for one found without its record.</param>
/// <param name="Subnet">The one the address was taken from: the node's may have changed since.</param>
internal sealed record Attachment(InstanceId Id, Epoch Epoch, IPAddress Address, Ipv4Subnet Subnet, IReadOnlyList<Publication> Ports)
{
    public ConnectionKind Kind { get; init; }

    /// <summary>For a guest that asks; null for what has a cable.</summary>
    public GuestAnswer? Answer { get; init; }

    public NetworkRate Rate { get; init; }

    /// <summary>The host's end of the cable, or the tap; unique because the address is, and within the kernel's 15 characters.</summary>
    public string LinkName => LinkPrefix + Convert.ToHexStringLower(Address.GetAddressBytes());

    /// <summary>What `ip link` shows people, and what finds the cable of an instance whose record was lost.</summary>
    public string LinkAlias => AliasOf(Id);

    public static string LinkPrefix => "hv-";

    public static string AliasOf(InstanceId id) => AliasPrefix + id.Value;

    private static string AliasPrefix => "instance ";

    /// <summary>Null for what is no alias of ours.</summary>
    public static InstanceId? InstanceOf(string alias) =>
        alias.StartsWith(AliasPrefix, StringComparison.Ordinal) && InstanceUid.IsValid(alias[AliasPrefix.Length..]) ? new(alias[AliasPrefix.Length..]) : null;

    /// <summary>Null for what is no name of ours.</summary>
    public static IPAddress? AddressOf(string linkName) =>
        linkName.StartsWith(LinkPrefix, StringComparison.Ordinal) && linkName.Length == LinkPrefix.Length + 8
        && uint.TryParse(linkName.AsSpan(LinkPrefix.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var number)
            ? number.ToAddress()
            : null;
}

/// <summary>Bytes per second in each direction; 0 is without limit.</summary>
internal readonly record struct NetworkRate(long Receive, long Transmit)
{
    /// <exception cref="DriverException">InvalidNetwork: out of range, which the API checked before.</exception>
    public static NetworkRate Of(NetworkRates? rates)
    {
        var rate = new NetworkRate(rates?.ReceiveBytesPerSecond ?? 0, rates?.TransmitBytesPerSecond ?? 0);
        return rate.IsValid() ? rate : throw new DriverException(
            "InvalidNetwork", $"network.rates: {rate.Receive} and {rate.Transmit} bytes per second are not both within 0-{NetworkLimits.LargestRate}.", permanent: true);
    }

    public bool IsValid() => Receive is >= 0 and <= NetworkLimits.LargestRate && Transmit is >= 0 and <= NetworkLimits.LargestRate;
}

/// <summary>What a guest that asks for its address is told besides.</summary>
/// <param name="Hostname">An RFC 1123 label, or empty.</param>
/// <param name="DnsServers">Empty means the node's.</param>
internal sealed record GuestAnswer(string Hostname, IReadOnlyList<IPAddress> DnsServers, IReadOnlyList<string> DnsSearch);

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
