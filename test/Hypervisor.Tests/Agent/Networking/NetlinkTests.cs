using System.Net;
using System.Net.NetworkInformation;
using CsCheck;
using Hypervisor.Agent.Networking.Netlink;
using Xunit;

namespace Hypervisor.Tests.Agent.Networking;

/// <summary>Protects: what is said to rtnetlink is what the kernel expects, byte by byte, and no answer breaks the reader.</summary>
public sealed class NetlinkTests
{
    [Fact]
    public void A_bridge_is_asked_for_as_ip_link_does()
    {
        var message = Links.BridgeCreation("hv0", PhysicalAddress.Parse("02680A420001"), 0x6876).Seal(7);

        // Header (length, type, flags, sequence, port), ifinfomsg, IFLA_IFNAME, IFLA_ADDRESS, IFLA_GROUP, IFLA_LINKINFO { IFLA_INFO_KIND }.
        Assert.Equal(
            "4C000000" + "1000" + "0506" + "07000000" + "00000000"
            + "00000000" + "00000000" + "00000000" + "00000000"
            + "08000300" + "68763000"
            + "0A000100" + "02680A420001" + "0000"
            + "08001B00" + "76680000"
            + "10001200" + "0B000100" + "62726964676500" + "00",
            Convert.ToHexString(message).Replace(" ", "", StringComparison.Ordinal));
    }

    [Fact]
    public void A_pair_carries_its_peer_with_name_address_and_namespace()
    {
        var message = Links.VethCreation(new("hv-0a420002", 3, "eth0", PhysicalAddress.Parse("02680A420002"), 9)).Seal(1);
        var reply = Assert.Single(NetlinkReply.Split(message.ToArray()));

        var peer = Find(Find(Find(reply.Payload.Span[Links.StructureLength..], LinkAttribute.Info), LinkAttribute.InfoData), LinkAttribute.VethPeer);

        Assert.Equal("65746830" + "00", Convert.ToHexString(Find(peer.AsSpan(Links.StructureLength), LinkAttribute.Name)));
        Assert.Equal("02680A420002", Convert.ToHexString(Find(peer.AsSpan(Links.StructureLength), LinkAttribute.Address)));
        Assert.Equal("09000000", Convert.ToHexString(Find(peer.AsSpan(Links.StructureLength), LinkAttribute.NamespaceDescriptor)));
        Assert.Equal("03000000", Convert.ToHexString(Find(reply.Payload.Span[Links.StructureLength..], LinkAttribute.Master)));
    }

    [Fact]
    public void An_address_carries_its_prefix_and_broadcast()
    {
        var message = Addresses.Addition(5, IPAddress.Parse("10.66.0.2"), 24).Seal(1);
        var reply = Assert.Single(NetlinkReply.Split(message.ToArray()));

        Assert.Equal(new AddressInfo(5, IPAddress.Parse("10.66.0.2"), 24), Addresses.Parse(reply));
        Assert.Equal("0A4200FF", Convert.ToHexString(Find(reply.Payload.Span[Addresses.StructureLength..], AddressAttribute.Broadcast)));
    }

    [Fact]
    public void A_finished_message_takes_no_second_number()
    {
        var request = Links.BridgeCreation("hv0", PhysicalAddress.None, 0);
        request.Seal(1);

        Assert.Throws<InvalidOperationException>(() => request.Seal(2));
    }

    [Fact]
    public void No_datagram_however_malformed_breaks_the_reader() =>
        Gen.Byte.Array[0, 200].Sample(bytes =>
        {
            foreach (var reply in NetlinkReply.Split(bytes))
            {
                var attributes = reply.Attributes(Links.StructureLength);
                while (attributes.MoveNext())
                {
                    _ = attributes.Text + attributes.UInt32;
                }
            }
        });

    private static byte[] Find(ReadOnlySpan<byte> content, ushort type)
    {
        var attributes = new NetlinkAttributes(content);
        while (attributes.MoveNext())
        {
            if (attributes.Type == type)
            {
                return attributes.Value.ToArray();
            }
        }

        throw new Xunit.Sdk.XunitException($"No attribute {type}.");
    }
}
