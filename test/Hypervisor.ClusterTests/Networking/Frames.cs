using System.Buffers.Binary;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Text;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Ethernet frames as anyone with a raw socket can write them, each with a tag that shows where it arrived.</summary>
internal static class Frames
{
    public const ushort Ipv4 = 0x0800;
    public const ushort Arp = 0x0806;
    public const ushort Vlan = 0x8100;
    public const ushort Ipv6 = 0x86DD;

    public static readonly PhysicalAddress Everyone = new([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);

    private const int EveryProtocol = 3;

    /// <summary>A datagram of an experimental protocol (RFC 3692): nothing answers it.</summary>
    public static byte[] Datagram(PhysicalAddress to, PhysicalAddress from, IPAddress source, IPAddress destination, string tag) =>
        Packet(to, from, 253, source, destination, Encoding.ASCII.GetBytes(tag));

    private static byte[] Packet(PhysicalAddress to, PhysicalAddress from, byte protocol, IPAddress source, IPAddress destination, byte[] payload)
    {
        var packet = new byte[20 + payload.Length];
        packet[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(2), (ushort)packet.Length);
        packet[8] = 64;
        packet[9] = protocol;
        source.GetAddressBytes().CopyTo(packet, 12);
        destination.GetAddressBytes().CopyTo(packet, 16);
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), Checksum(packet.AsSpan(0, 20)));
        payload.CopyTo(packet, 20);
        return Frame(to, from, Ipv4, packet);
    }

    /// <summary>A message of DHCP as far as it matters to rules: RFC 2131's header up to chaddr, and a tag.</summary>
    public static byte[] Dhcp(
        PhysicalAddress to, PhysicalAddress from, (IPAddress Address, ushort Port) source, (IPAddress Address, ushort Port) destination, PhysicalAddress about, string tag)
    {
        byte[] message = [1, 1, 6, 0, .. new byte[24], .. about.GetAddressBytes(), .. Encoding.ASCII.GetBytes(tag)];
        var header = new byte[8];
        BinaryPrimitives.WriteUInt16BigEndian(header, source.Port);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), destination.Port);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), (ushort)(header.Length + message.Length));
        return Packet(to, from, 17, source.Address, destination.Address, [.. header, .. message]);
    }

    /// <summary>A question (RFC 826) of somebody without an address yet, whether another has this one (RFC 5227); the tag follows as padding.</summary>
    public static byte[] ArpProbe(PhysicalAddress from, PhysicalAddress senderMac, IPAddress target, string tag) => Frame(
        Everyone, from, Arp,
        [
            0, 1, 8, 0, 6, 4, 0, 1,
            .. senderMac.GetAddressBytes(), 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, .. target.GetAddressBytes(),
            .. Encoding.ASCII.GetBytes(tag),
        ]);

    /// <summary>A reply (RFC 826) that tells who has an address; the tag follows as padding.</summary>
    public static byte[] ArpReply(
        PhysicalAddress to, PhysicalAddress from, PhysicalAddress senderMac, IPAddress sender, IPAddress target, string tag) => Frame(
        to, from, Arp,
        [
            0, 1, 8, 0, 6, 4, 0, 2,
            .. senderMac.GetAddressBytes(), .. sender.GetAddressBytes(),
            .. to.GetAddressBytes(), .. target.GetAddressBytes(),
            .. Encoding.ASCII.GetBytes(tag),
        ]);

    public static byte[] Frame(PhysicalAddress to, PhysicalAddress from, ushort type, byte[] payload) =>
        [.. to.GetAddressBytes(), .. from.GetAddressBytes(), (byte)(type >> 8), (byte)type, .. payload];

    /// <summary>A raw socket on the namespace's eth0; made and bound on a thread inside.</summary>
    public static Socket Open(LabInstance instance) => NetworkLab.InNamespace(instance.Inside, () =>
    {
        var index = NetworkInterface.GetAllNetworkInterfaces().Single(link => link.Name == "eth0").GetIPProperties().GetIPv4Properties().Index;
        var socket = new Socket(AddressFamily.Packet, SocketType.Raw, (ProtocolType)BinaryPrimitives.ReverseEndianness((ushort)EveryProtocol));
        socket.Bind(new LinkEndPoint(index));
        return socket;
    });

    /// <summary>Tags ("&lt;…&gt;") of the frames that arrive, up to and without the last; what the receiver answers is seen too, and left out.</summary>
    public static async Task<List<string>> TagsUpToAsync(Socket socket, PhysicalAddress own, string last, CancellationToken cancellationToken)
    {
        var tags = new List<string>();
        var buffer = new byte[2048];
        while (true)
        {
            var text = Encoding.ASCII.GetString(buffer, 0, await socket.ReceiveAsync(buffer, cancellationToken));
            if (buffer.AsSpan(6, 6).SequenceEqual(own.GetAddressBytes()))
            {
                continue;
            }

            var (start, end) = (text.LastIndexOf('<'), text.LastIndexOf('>'));
            if (start < 0 || end < start)
            {
                continue;
            }

            var tag = text[(start + 1)..end];
            if (tag == last)
            {
                return tags;
            }

            tags.Add(tag);
        }
    }

    /// <summary>RFC 1071; br_netfilter drops a packet without it.</summary>
    private static ushort Checksum(ReadOnlySpan<byte> header)
    {
        var sum = 0u;
        for (var i = 0; i < header.Length; i += 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(header[i..]);
        }

        return (ushort)~((sum & 0xFFFF) + (sum >> 16));
    }

    /// <summary>struct sockaddr_ll, see packet(7).</summary>
    private sealed class LinkEndPoint(int index) : EndPoint
    {
        public override AddressFamily AddressFamily => AddressFamily.Packet;

        public override SocketAddress Serialize()
        {
            var address = new SocketAddress(AddressFamily.Packet, 20);
            BinaryPrimitives.WriteUInt16BigEndian(address.Buffer.Span[2..], EveryProtocol);
            BinaryPrimitives.WriteInt32LittleEndian(address.Buffer.Span[4..], index);
            return address;
        }
    }
}
