namespace Hypervisor.Agent.Networking.Netlink;

// Numbers of the kernel's user-space interface: include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,if_bridge,veth}.h.

internal static class MessageType
{
    public const ushort Error = 2;
    public const ushort Done = 3;
    public const ushort NewLink = 16;
    public const ushort DeleteLink = 17;
    public const ushort GetLink = 18;
    public const ushort SetLink = 19;
    public const ushort NewAddress = 20;
    public const ushort DeleteAddress = 21;
    public const ushort GetAddress = 22;
    public const ushort NewRoute = 24;
    public const ushort GetRoute = 26;
}

internal static class MessageFlag
{
    public const ushort Request = 0x1;
    public const ushort Acknowledge = 0x4;
    public const ushort DumpInterrupted = 0x10;
    public const ushort Replace = 0x100;
    public const ushort Exclusive = 0x200;
    public const ushort Dump = 0x300;
    public const ushort Create = 0x400;

    /// <summary>In an acknowledgement: attributes with the kernel's own words follow.</summary>
    public const ushort AcknowledgeAttributes = 0x200;
}

internal static class MulticastGroup
{
    public const uint Link = 0x1;
    public const uint Ipv4Address = 0x10;
}

internal static class LinkAttribute
{
    public const ushort Address = 1;
    public const ushort Name = 3;
    public const ushort Mtu = 4;
    public const ushort Master = 10;
    public const ushort ProtocolInfo = 12;
    public const ushort Info = 18;
    public const ushort Alias = 20;
    public const ushort AddressFamilies = 26;
    public const ushort Group = 27;
    public const ushort NamespaceDescriptor = 28;

    public const ushort InfoKind = 1;
    public const ushort InfoData = 2;
    public const ushort VethPeer = 1;
    public const ushort BridgePortHairpin = 4;
    public const ushort Ipv6AddressGeneration = 8;

    public const ushort Nested = 0x8000;
    public const ushort TypeMask = 0x3FFF;
}

internal static class LinkFlag
{
    public const uint Up = 0x1;
}

internal static class AddressAttribute
{
    public const ushort Address = 1;
    public const ushort Local = 2;
    public const ushort Broadcast = 4;
}

internal static class RouteAttribute
{
    public const ushort OutputInterface = 4;
    public const ushort Gateway = 5;
    public const ushort Priority = 6;
    public const byte MainTable = 254;
    public const byte ProtocolStatic = 4;
    public const byte TypeUnicast = 1;
}

internal static class Family
{
    public const byte Unspecified = 0;
    public const byte Ipv4 = 2;
    public const byte Bridge = 7;
    public const byte Ipv6 = 10;
}
