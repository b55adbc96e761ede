using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Agent.Networking.Sysctls;

namespace Hypervisor.Agent.Networking;

/// <summary>The bridge that instances are ports of; the host's own addresses in their subnets.</summary>
internal sealed class Bridge(string name, NetlinkSocket route, KernelSettings settings)
{
    /// <summary>
    /// The interface group (see ip-link(8)) of every agent's bridge: by it the rules of one agent know another's bridge on the
    /// same host. "hv" as a number.
    /// </summary>
    public const uint Group = 0x6876;

    /// <summary>Makes the bridge match and answers its index.</summary>
    /// <param name="subnets">Of which the gateways are its addresses; the node's present one first.</param>
    /// <exception cref="DriverException">BridgeNameTaken, SubnetInUse.</exception>
    public (int Index, bool Changed) Ensure(IReadOnlyList<Ipv4Subnet> subnets, int mtu)
    {
        var changed = false;
        var link = Find();
        if (link is null)
        {
            route.CreateBridge(name, subnets[0].Gateway.ToAddress().ToHardwareAddress(), Group);
            link = Find() ?? throw new IOException($"bridge {name} vanished while it was set up");
            changed = true;
        }

        if (link.Group != Group)
        {
            route.SetGroup(link.Index, Group);
            changed = true;
        }

        // Set, it stays: a bridge whose MTU nobody set takes the smallest of its ports.
        if (link.Mtu != mtu)
        {
            route.SetMtu(link.Index, mtu);
            changed = true;
        }

        changed |= EnsureAddresses(link, subnets);
        EnsureSettings();
        if (!link.Up)
        {
            route.DisableIpv6Addresses(link.Index);
            route.SetUp(link.Index);
            changed = true;
        }

        return (link.Index, changed);
    }

    /// <summary>The bridge, or null when there is none.</summary>
    /// <exception cref="DriverException">BridgeNameTaken: the name belongs to something that we did not make.</exception>
    public LinkInfo? Find()
    {
        var link = route.FindLink(name);

        // The hardware address is set in the same request that creates it, so no crash leaves one of ours without it.
        return link is null || (link.Kind == "bridge" && link.HardwareAddress.IsOurs())
            ? link
            : throw new DriverException(
                "BridgeNameTaken",
                $"Interface {name} exists and was not made by this agent: set network.bridge in the agent's configuration to another name, or remove it.",
                permanent: false);
    }

    /// <summary>What packets of instances may have so that they fit where they leave the host.</summary>
    /// <param name="wanted">0 for that of the host's default route; without one, what the bridge has.</param>
    public int ChooseMtu(int wanted)
    {
        if (wanted != 0)
        {
            return wanted;
        }

        var links = route.ListLinks();
        var uplink = route.FindDefaultLink();
        var like = links.FirstOrDefault(link => link.Index == uplink) ?? links.FirstOrDefault(link => link.Name == name);
        return like is null ? NetworkLimits.EthernetMtu : Math.Clamp(like.Mtu, NetworkLimits.SmallestMtu, NetworkLimits.LargestMtu);
    }

    public void Delete()
    {
        if (Find() is not null)
        {
            route.DeleteLink(name);
        }
    }

    private bool EnsureAddresses(LinkInfo link, IReadOnlyList<Ipv4Subnet> subnets)
    {
        var present = route.ListAddresses();
        foreach (var other in present.Where(address => address.Link != link.Index))
        {
            if (subnets.FirstOrDefault(subnet => subnet.Overlaps(other.Address.ToUInt32(), other.PrefixLength)) is { PrefixLength: > 0 } overlapped)
            {
                throw new DriverException(
                    "SubnetInUse",
                    $"The node's subnet {overlapped} overlaps {other.Address}/{other.PrefixLength} of another interface: set another cluster subnet on the server.",
                    permanent: false);
            }
        }

        var changed = false;
        var own = present.Where(address => address.Link == link.Index).ToList();
        foreach (var subnet in subnets)
        {
            var gateway = new AddressInfo(link.Index, subnet.Gateway.ToAddress(), subnet.PrefixLength);
            if (!own.Remove(gateway))
            {
                route.AddAddress(link.Index, gateway.Address, gateway.PrefixLength);
                changed = true;
            }
        }

        foreach (var former in own)
        {
            route.RemoveAddress(former);
            changed = true;
        }

        return changed;
    }

    private void EnsureSettings()
    {
        // Replies of an instance to the host's own loopback arrive here for 127.0.0.0/8 (ip-sysctl: route_localnet). The guard
        // chain drops every other packet to it: without that, instances would reach the host's loopback (CVE-2020-8558).
        settings.Set($"net/ipv4/conf/{name}/route_localnet", "1");
        settings.Set($"net/ipv4/conf/{name}/forwarding", "1");
    }
}
