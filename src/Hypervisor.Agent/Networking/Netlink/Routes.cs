using System.Net;
using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>Requests about IPv4 routes.</summary>
internal static class Routes
{
    /// <summary>Sets the default route; replaces another.</summary>
    public static void SetDefaultRoute(this NetlinkSocket socket, int link, IPAddress gateway)
    {
        var structure = new RouteStructure
        {
            Family = Family.Ipv4,
            Table = RouteAttribute.MainTable,
            Protocol = RouteAttribute.ProtocolStatic,
            Type = RouteAttribute.TypeUnicast,
        };
        var request = new NetlinkRequest(MessageType.NewRoute, MessageFlag.Request | MessageFlag.Acknowledge | MessageFlag.Create | MessageFlag.Replace)
            .Append(structure)
            .Attribute(RouteAttribute.Gateway, gateway.GetAddressBytes())
            .Attribute(RouteAttribute.OutputInterface, (uint)link);
        socket.Execute(request, $"cannot set the default route to {gateway}");
    }

    /// <summary>struct rtmsg.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct RouteStructure
    {
        public byte Family;
        public byte DestinationLength;
        public byte SourceLength;
        public byte TypeOfService;
        public byte Table;
        public byte Protocol;
        public byte Scope;
        public byte Type;
        public uint Flags;
    }
}
