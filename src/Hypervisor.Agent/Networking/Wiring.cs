using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Namespaces;
using Hypervisor.Agent.Networking.Netlink;

namespace Hypervisor.Agent.Networking;

/// <summary>What joins an instance to the bridge: the cable into its namespace with the interface inside, or its tap.</summary>
internal sealed class Wiring(NetlinkSocket route, NetworkNamespaces namespaces)
{
    /// <summary>The instance's interface.</summary>
    public const string InterfaceName = "eth0";

    private const int Loopback = 1;

    /// <summary>Makes the connection match; the namespace of one with a cable exists.</summary>
    /// <param name="link">The host's end as it is now; null when there is none.</param>
    /// <returns>Whether anything was missing.</returns>
    public bool Ensure(Attachment attachment, int bridge, int mtu, LinkInfo? link) => attachment.Kind == ConnectionKind.Tap
        ? EnsureTap(attachment, bridge, mtu, link)
        : EnsureCable(attachment, bridge, mtu, link);

    private bool EnsureTap(Attachment attachment, int bridge, int mtu, LinkInfo? link)
    {
        if (link is { Kind: not Taps.Kind })
        {
            // The cable of a container that became a machine.
            route.DeleteLink(link.Name);
            link = null;
        }

        if (link is not null && IsPort(link, bridge, mtu))
        {
            return false;
        }

        if (link is null)
        {
            Taps.Create(attachment.LinkName);
            link = Made(attachment);
        }

        route.ConfigurePort(link.Index, bridge, attachment.LinkAlias, mtu);
        return true;
    }

    private bool EnsureCable(Attachment attachment, int bridge, int mtu, LinkInfo? link)
    {
        using var inside = namespaces.Open(attachment.Id);
        if (link is not null && namespaces.Enter(inside, () => Configure(attachment, mtu)))
        {
            if (IsPort(link, bridge, mtu))
            {
                return false;
            }

            route.ConfigurePort(link.Index, bridge, attachment.LinkAlias, mtu);
            return true;
        }

        // An end whose peer is elsewhere or nowhere, or a tap.
        if (link is not null)
        {
            route.DeleteLink(link.Name);
        }

        route.CreateVeth(new(
            attachment.LinkName, bridge, InterfaceName, attachment.Address.ToHardwareAddress(), (int)inside.DangerousGetHandle(), mtu));
        route.ConfigurePort(Made(attachment).Index, bridge, attachment.LinkAlias, mtu);
        return namespaces.Enter(inside, () => Configure(attachment, mtu))
            ? true
            : throw new IOException($"interface {InterfaceName} of instance {attachment.Id} vanished while it was set up");
    }

    private static bool IsPort(LinkInfo link, int bridge, int mtu) => link.Up && link.Master == bridge && link.Mtu == mtu;

    private LinkInfo Made(Attachment attachment)
    {
        var link = route.FindLink(attachment.LinkName) ?? throw new IOException($"interface {attachment.LinkName} vanished while it was set up");
        route.DisableIpv6Addresses(link.Index);
        return link;
    }

    /// <summary>Runs inside. The same requests set up and repair: each states what shall be.</summary>
    /// <returns>False when there is no interface to configure.</returns>
    private static bool Configure(Attachment attachment, int mtu)
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

        if (link.Mtu != mtu)
        {
            own.SetMtu(link.Index, mtu);
        }

        own.AddAddress(link.Index, attachment.Address, attachment.Subnet.PrefixLength);
        own.SetUp(link.Index);
        own.SetDefaultRoute(link.Index, attachment.Subnet.Gateway.ToAddress());
        return true;
    }
}
