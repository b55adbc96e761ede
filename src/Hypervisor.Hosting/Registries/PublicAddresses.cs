using System.Net;
using System.Net.Sockets;

namespace Hypervisor.Hosting.Registries;

/// <summary>
/// Addresses that anyone may be sent to. All others belong to this machine, its network or a cloud's own services: reaching
/// them on a user's or a registry's word would lend them our place in the network.
/// </summary>
internal static class PublicAddresses
{
    // RFC 6890 (special-purpose registries), RFC 6598 (shared), RFC 4193 (unique local), RFC 6052 and 3056 (which carry an IPv4 address).
    private static readonly IPNetwork[] _special =
    [
        .. ((string[])
        [
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
            "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
            "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/9", "ff00::/8",
        ]).Select(text => IPNetwork.Parse(text)),
    ];

    public static bool Contains(IPAddress address)
    {
        if (address.IsIPv4MappedToIPv6)
        {
            address = address.MapToIPv4();
        }

        return address.AddressFamily is AddressFamily.InterNetwork or AddressFamily.InterNetworkV6
            && !Array.Exists(_special, network => network.BaseAddress.AddressFamily == address.AddressFamily && network.Contains(address));
    }
}
