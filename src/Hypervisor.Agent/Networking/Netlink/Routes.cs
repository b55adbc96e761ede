using System.Net;
using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Networking.Netlink;

/// <summary>Requests about IPv4 routes.</summary>
internal static class Routes
{
    /// <summary>Length of struct rtmsg.</summary>
    private const int StructureLength = 12;

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

    /// <summary>Index of the interface that packets for nowhere in particular leave by; 0 when there is none.</summary>
    public static int FindDefaultLink(this NetlinkSocket socket)
    {
        var replies = socket.Dump(
            () => new NetlinkRequest(MessageType.GetRoute, MessageFlag.Request | MessageFlag.Dump).Append(new RouteStructure { Family = Family.Ipv4 }),
            "cannot list routes");
        var (best, lowest) = (0, uint.MaxValue);
        foreach (var reply in replies)
        {
            var route = MemoryMarshal.Read<RouteStructure>(reply.Payload.Span);
            if (route is not { DestinationLength: 0, Table: RouteAttribute.MainTable, Type: RouteAttribute.TypeUnicast })
            {
                continue;
            }

            var (link, priority) = (0, 0u);
            var attributes = reply.Attributes(StructureLength);
            while (attributes.MoveNext())
            {
                switch (attributes.Type)
                {
                    case RouteAttribute.OutputInterface:
                        link = (int)attributes.UInt32;
                        break;
                    case RouteAttribute.Priority:
                        priority = attributes.UInt32;
                        break;
                }
            }

            if (link != 0 && priority < lowest)
            {
                (best, lowest) = (link, priority);
            }
        }

        return best;
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
