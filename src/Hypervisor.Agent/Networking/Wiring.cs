using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Namespaces;
using Hypervisor.Agent.Networking.Netlink;

namespace Hypervisor.Agent.Networking;

/// <summary>The cable between the bridge and an instance's namespace, with the interface inside.</summary>
internal sealed class Wiring(NetlinkSocket route, NetworkNamespaces namespaces)
{
    /// <summary>The instance's interface.</summary>
    public const string InterfaceName = "eth0";

    private const int Loopback = 1;

    /// <summary>Makes the cable match; the namespace exists.</summary>
    /// <param name="link">The host's end as it is now; null when there is none.</param>
    /// <returns>Whether anything was missing.</returns>
    public bool Ensure(Attachment attachment, int bridge, LinkInfo? link)
    {
        using var inside = namespaces.Open(attachment.Id);
        if (link is not null && namespaces.Enter(inside, () => Configure(attachment)))
        {
            if (link.Up && link.Master == bridge)
            {
                return false;
            }

            route.ConfigurePort(link.Index, bridge, attachment.LinkAlias);
            return true;
        }

        // An end whose peer is elsewhere or nowhere.
        if (link is not null)
        {
            route.DeleteLink(link.Name);
        }

        route.CreateVeth(new(
            attachment.LinkName, bridge, InterfaceName, attachment.Address.ToHardwareAddress(), (int)inside.DangerousGetHandle()));
        link = route.FindLink(attachment.LinkName) ?? throw new IOException($"interface {attachment.LinkName} vanished while it was set up");
        route.DisableIpv6Addresses(link.Index);
        route.ConfigurePort(link.Index, bridge, attachment.LinkAlias);
        return namespaces.Enter(inside, () => Configure(attachment))
            ? true
            : throw new IOException($"interface {InterfaceName} of instance {attachment.Id} vanished while it was set up");
    }

    /// <summary>Runs inside. The same requests set up and repair: each states what shall be.</summary>
    /// <returns>False when there is no interface to configure.</returns>
    private static bool Configure(Attachment attachment)
    {
        using var own = NetlinkSocket.Open();
        if (own.FindLink(InterfaceName) is not { } link || !link.HardwareAddress.Equals(attachment.Address.ToHardwareAddress()))
        {
            return false;
        }

        own.SetUp(Loopback);
        if (!link.Up)
        {
            own.DisableIpv6Addresses(link.Index);
        }

        own.AddAddress(link.Index, attachment.Address, attachment.Subnet.PrefixLength);
        own.SetUp(link.Index);
        own.SetDefaultRoute(link.Index, attachment.Subnet.Gateway.ToAddress());
        return true;
    }
}
