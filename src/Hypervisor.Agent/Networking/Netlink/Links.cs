using System.Net.NetworkInformation;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Interop;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>A network interface as the kernel describes it.</summary>
/// <param name="Master">Index of the bridge it is a port of; 0 for none.</param>
/// <param name="Kind">"bridge", "veth", "tun", ...; empty for hardware.</param>
/// <param name="Group">A number that rules can match; 0 unless somebody set it.</param>
/// <param name="Mtu">Bytes of the largest packet.</param>
internal sealed record LinkInfo(int Index, string Name, bool Up, int Master, string Kind, string Alias, PhysicalAddress HardwareAddress, uint Group, int Mtu)
{
    /// <summary>Reads a link message; also what notifications carry.</summary>
    public static LinkInfo Parse(NetlinkReply reply)
    {
        var index = MemoryMarshal.Read<int>(reply.Payload.Span[4..]);
        var flags = MemoryMarshal.Read<uint>(reply.Payload.Span[8..]);
        var (name, alias, kind, master, address, group, mtu) = ("", "", "", 0, PhysicalAddress.None, 0u, 0);
        var attributes = reply.Attributes(Links.StructureLength);
        while (attributes.MoveNext())
        {
            switch (attributes.Type)
            {
                case LinkAttribute.Name:
                    name = attributes.Text;
                    break;
                case LinkAttribute.Alias:
                    alias = attributes.Text;
                    break;
                case LinkAttribute.Master:
                    master = (int)attributes.UInt32;
                    break;
                case LinkAttribute.Address:
                    address = new(attributes.Value.ToArray());
                    break;
                case LinkAttribute.Group:
                    group = attributes.UInt32;
                    break;
                case LinkAttribute.Mtu:
                    mtu = (int)attributes.UInt32;
                    break;
                case LinkAttribute.Info:
                    kind = ParseKind(attributes.Value);
                    break;
            }
        }

        return new(index, name, (flags & LinkFlag.Up) != 0, master, kind, alias, address, group, mtu);
    }

    private static string ParseKind(ReadOnlySpan<byte> info)
    {
        var attributes = new NetlinkAttributes(info);
        while (attributes.MoveNext())
        {
            if (attributes.Type == LinkAttribute.InfoKind)
            {
                return attributes.Text;
            }
        }

        return "";
    }
}

/// <summary>Requests about interfaces.</summary>
internal static class Links
{
    /// <summary>Length of struct ifinfomsg.</summary>
    public const int StructureLength = 16;

    public static LinkInfo? FindLink(this NetlinkSocket socket, string name)
    {
        try
        {
            var request = Message(MessageType.GetLink, MessageFlag.Acknowledge, index: 0).Attribute(LinkAttribute.Name, name);
            return LinkInfo.Parse(socket.Execute(request, $"cannot look up interface {name}")[0]);
        }
        catch (SystemCallException missing) when (missing.Code == Errno.NoDevice)
        {
            return null;
        }
    }

    public static IReadOnlyList<LinkInfo> ListLinks(this NetlinkSocket socket) =>
        [.. socket.Dump(() => Message(MessageType.GetLink, MessageFlag.Dump, index: 0), "cannot list interfaces").Select(LinkInfo.Parse)];

    public static void CreateBridge(this NetlinkSocket socket, string name, PhysicalAddress hardwareAddress, uint group) =>
        socket.Execute(BridgeCreation(name, hardwareAddress, group), $"cannot create bridge {name}");

    public static NetlinkRequest BridgeCreation(string name, PhysicalAddress hardwareAddress, uint group) =>
        Message(MessageType.NewLink, MessageFlag.Acknowledge | MessageFlag.Create | MessageFlag.Exclusive, index: 0)
            .Attribute(LinkAttribute.Name, name)
            .Attribute(LinkAttribute.Address, hardwareAddress.GetAddressBytes())
            .Attribute(LinkAttribute.Group, group)
            .Nest(LinkAttribute.Info, info => info.Attribute(LinkAttribute.InfoKind, "bridge"));

    public static void SetGroup(this NetlinkSocket socket, int index, uint group) => socket.Execute(
        Message(MessageType.NewLink, MessageFlag.Acknowledge, index).Attribute(LinkAttribute.Group, group), $"cannot put interface {index} into group {group}");

    public static void SetMtu(this NetlinkSocket socket, int index, int mtu) => socket.Execute(
        Message(MessageType.NewLink, MessageFlag.Acknowledge, index).Attribute(LinkAttribute.Mtu, (uint)mtu), $"cannot set the MTU of interface {index} to {mtu}");

    /// <summary>Creates a pair: one end here as a port of the bridge, the other in another namespace from the start.</summary>
    public static void CreateVeth(this NetlinkSocket socket, VethPair pair) =>
        socket.Execute(VethCreation(pair), $"cannot create interface {pair.Name}");

    public static NetlinkRequest VethCreation(VethPair pair) =>
        Message(MessageType.NewLink, MessageFlag.Acknowledge | MessageFlag.Create | MessageFlag.Exclusive, index: 0)
            .Attribute(LinkAttribute.Name, pair.Name)
            .Attribute(LinkAttribute.Master, (uint)pair.Bridge)
            .Attribute(LinkAttribute.Mtu, (uint)pair.Mtu)
            .Nest(LinkAttribute.Info, info => info
                .Attribute(LinkAttribute.InfoKind, "veth")
                .Nest(LinkAttribute.InfoData, data => data
                    .Nest(LinkAttribute.VethPeer, peer => peer
                        .Append(default(LinkStructure))
                        .Attribute(LinkAttribute.Name, pair.PeerName)
                        .Attribute(LinkAttribute.Address, pair.PeerHardwareAddress.GetAddressBytes())
                        .Attribute(LinkAttribute.Mtu, (uint)pair.Mtu)
                        .Attribute(LinkAttribute.NamespaceDescriptor, (uint)pair.PeerNamespace))));

    public static void SetUp(this NetlinkSocket socket, int index) =>
        socket.Execute(Message(MessageType.NewLink, MessageFlag.Acknowledge, index, LinkFlag.Up, LinkFlag.Up), $"cannot switch interface {index} on");

    /// <summary>
    /// No link-local IPv6 address: this network has no IPv6, and a port that hears its own duplicate-address probe back
    /// (<see cref="ConfigurePort"/>) would log an error. A kernel without IPv6 refuses, which is as good.
    /// </summary>
    public static void DisableIpv6Addresses(this NetlinkSocket socket, int index)
    {
        try
        {
            const byte none = 1;
            var request = Message(MessageType.NewLink, MessageFlag.Acknowledge, index)
                .Nest(LinkAttribute.AddressFamilies | LinkAttribute.Nested, families => families
                    .Nest(Family.Ipv6 | LinkAttribute.Nested, ipv6 => ipv6.Attribute(LinkAttribute.Ipv6AddressGeneration, none)));
            socket.Execute(request, $"cannot switch IPv6 addresses of interface {index} off");
        }
        catch (SystemCallException)
        {
            // Tried for tidiness only: packets are filtered in any case.
        }
    }

    /// <summary>Bridge port, named for people, switched on.</summary>
    public static void ConfigurePort(this NetlinkSocket socket, int index, int bridge, string alias, int mtu)
    {
        var request = Message(MessageType.NewLink, MessageFlag.Acknowledge, index, LinkFlag.Up, LinkFlag.Up)
            .Attribute(LinkAttribute.Master, (uint)bridge)
            .Attribute(LinkAttribute.Mtu, (uint)mtu)
            .Attribute(LinkAttribute.Alias, alias);
        socket.Execute(request, $"cannot configure interface {index}");

        // Under br_netfilter, an instance's packet to its own published port is translated while still inside the bridge,
        // and has to leave through the port it came from.
        const byte on = 1;
        var hairpin = Message(MessageType.SetLink, MessageFlag.Acknowledge, index, family: Family.Bridge)
            .Nest(LinkAttribute.ProtocolInfo | LinkAttribute.Nested, port => port.Attribute(LinkAttribute.BridgePortHairpin, on));
        socket.Execute(hairpin, $"cannot configure bridge port {index}");
    }

    /// <summary>Deletes an interface; nothing when it is gone.</summary>
    public static void DeleteLink(this NetlinkSocket socket, string name)
    {
        try
        {
            var request = Message(MessageType.DeleteLink, MessageFlag.Acknowledge, index: 0).Attribute(LinkAttribute.Name, name);
            socket.Execute(request, $"cannot delete interface {name}");
        }
        catch (SystemCallException missing) when (missing.Code == Errno.NoDevice)
        {
        }
    }

    private static NetlinkRequest Message(ushort type, int flags, int index, uint linkFlags = 0, uint change = 0, byte family = Family.Unspecified) =>
        new NetlinkRequest(type, (ushort)(flags | MessageFlag.Request))
            .Append(new LinkStructure { Family = family, Index = index, Flags = linkFlags, Change = change });

    /// <summary>struct ifinfomsg.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct LinkStructure
    {
        public byte Family;
        public byte Padding;
        public ushort Type;
        public int Index;
        public uint Flags;
        public uint Change;
    }
}

/// <summary>A virtual cable to be made.</summary>
/// <param name="Bridge">Index of the bridge that the end in this namespace becomes a port of.</param>
/// <param name="PeerNamespace">Descriptor of the other end's namespace.</param>
internal readonly record struct VethPair(string Name, int Bridge, string PeerName, PhysicalAddress PeerHardwareAddress, int PeerNamespace, int Mtu = NetworkLimits.EthernetMtu);
