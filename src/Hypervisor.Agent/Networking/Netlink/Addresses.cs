using System.Net;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Agent.Networking.Interop;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>An IPv4 address of an interface.</summary>
internal readonly record struct AddressInfo(int Link, IPAddress Address, int PrefixLength);

/// <summary>Requests about IPv4 addresses.</summary>
internal static class Addresses
{
    /// <summary>Length of struct ifaddrmsg.</summary>
    public const int StructureLength = 8;

    public static IReadOnlyList<AddressInfo> ListAddresses(this NetlinkSocket socket)
    {
        var replies = socket.Dump(() => Message(MessageType.GetAddress, MessageFlag.Dump, new() { Family = Family.Ipv4 }), "cannot list addresses");
        return [.. replies.Select(Parse)];
    }

    /// <summary>Adds an address; nothing when it is there already.</summary>
    public static void AddAddress(this NetlinkSocket socket, int link, IPAddress address, int prefixLength) =>
        socket.Execute(Addition(link, address, prefixLength), $"cannot add address {address}/{prefixLength}");

    public static NetlinkRequest Addition(int link, IPAddress address, int prefixLength)
    {
        var broadcast = new Ipv4Subnet(address.ToUInt32(), prefixLength).Broadcast.ToAddress();
        return Message(MessageType.NewAddress, MessageFlag.Acknowledge | MessageFlag.Create | MessageFlag.Replace, Structure(link, prefixLength))
            .Attribute(AddressAttribute.Local, address.GetAddressBytes())
            .Attribute(AddressAttribute.Address, address.GetAddressBytes())
            .Attribute(AddressAttribute.Broadcast, broadcast.GetAddressBytes());
    }

    /// <summary>Removes an address; nothing when it is gone.</summary>
    public static void RemoveAddress(this NetlinkSocket socket, AddressInfo address)
    {
        try
        {
            var request = Message(MessageType.DeleteAddress, MessageFlag.Acknowledge, Structure(address.Link, address.PrefixLength))
                .Attribute(AddressAttribute.Local, address.Address.GetAddressBytes());
            socket.Execute(request, $"cannot remove address {address.Address}");
        }
        catch (SystemCallException missing) when (missing.Code is Errno.AddressNotAvailable or Errno.NoDevice)
        {
        }
    }

    public static AddressInfo Parse(NetlinkReply reply)
    {
        var prefixLength = reply.Payload.Span[1];
        var link = MemoryMarshal.Read<int>(reply.Payload.Span[4..]);
        var address = IPAddress.None;
        var attributes = reply.Attributes(StructureLength);
        while (attributes.MoveNext())
        {
            if (attributes.Type == AddressAttribute.Local && attributes.Value.Length == 4)
            {
                address = new(attributes.Value);
            }
        }

        return new(link, address, prefixLength);
    }

    private static AddressStructure Structure(int link, int prefixLength) =>
        new() { Family = Family.Ipv4, PrefixLength = (byte)prefixLength, Index = link };

    private static NetlinkRequest Message(ushort type, int flags, AddressStructure structure) =>
        new NetlinkRequest(type, (ushort)(flags | MessageFlag.Request)).Append(structure);

    /// <summary>struct ifaddrmsg.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct AddressStructure
    {
        public byte Family;
        public byte PrefixLength;
        public byte Flags;
        public byte Scope;
        public int Index;
    }
}
