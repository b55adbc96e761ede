using System.Net;
using Hypervisor.Agent.Networking.Netlink;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: whatever piece somebody deletes comes back, without touching the rest (Converges).</summary>
public sealed class RepairTests
{
    public static TheoryData<string> Damages => [.. Damage.Keys];

    private static Dictionary<string, Action<NetworkLab, LabInstance>> Damage { get; } = new()
    {
        ["bridge deleted"] = (lab, _) => lab.OnHost(route => route.DeleteLink("hv0")),
        ["bridge address removed"] = (lab, _) => lab.OnHost(route =>
            route.RemoveAddress(route.ListAddresses().Single(address => address.Address.Equals(NetworkLab.Gateway)))),
        ["cable deleted"] = (lab, instance) => lab.OnHost(route => route.DeleteLink(NetworkLab.LinkOf(instance))),
        ["cable taken off the bridge"] = (lab, instance) => lab.OnHost(route =>
            route.Execute(Unplug(route.FindLink(NetworkLab.LinkOf(instance))!.Index), "cannot unplug")),
        ["inner interface deleted"] = (_, instance) => Inside(instance, route => route.DeleteLink("eth0")),
        ["inner address removed"] = (_, instance) => Inside(instance, route =>
            route.RemoveAddress(route.ListAddresses().Single(address => address.Address.Equals(instance.Address)))),
        ["rules deleted"] = (lab, _) => lab.Nft("delete table inet hypervisor_hv0"),
        ["rules flushed"] = (lab, _) => lab.Nft("flush ruleset"),
        ["a rule added"] = (lab, _) => lab.Nft("add rule inet hypervisor_hv0 guard drop"),
        ["a published port removed"] = (lab, _) => lab.Nft("delete element inet hypervisor_hv0 published { tcp . 8080 }"),
        ["forwarding switched off"] = (lab, _) => lab.Sysctl("net/ipv4/ip_forward", "0"),
        ["loopback routing switched off"] = (lab, _) => lab.Sysctl("net/ipv4/conf/hv0/route_localnet", "0"),
        ["record deleted"] = (lab, _) => Directory.Delete(Path.Combine(lab.DataDirectory, "network", "attachments"), recursive: true),
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_piece_that_somebody_deletes_is_repaired(string damage)
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        using var web = LabTraffic.ServeTcp(instance.Inside, "web", 80);
        using var server = LabTraffic.ServeTcp(lab.Neighbour, "neighbour", 7000);
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);

        Damage[damage](lab, instance);
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);

        Assert.NotNull(await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.NeighbourAddress, 7000));
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Host, IPAddress.Loopback, 8080));
        Assert.Single(Directory.GetFiles(Path.Combine(lab.DataDirectory, "network", "attachments")));
    }

    [Theory]
    [InlineData("bridge deleted")]
    [InlineData("bridge address removed")]
    [InlineData("cable deleted")]
    [InlineData("cable taken off the bridge")]
    public async Task The_kernel_says_when_a_piece_goes_missing(string damage)
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        var hint = lab.Network.WaitForChangeAsync(NetworkLab.Deadline);

        Damage[damage](lab, instance);

        await hint.WaitAsync(TimeSpan.FromSeconds(10), NetworkLab.Deadline);
    }

    [Fact]
    public async Task The_networks_own_work_gives_no_hint()
    {
        await using var lab = await NetworkLab.StartAsync();
        var hint = lab.Network.WaitForChangeAsync(NetworkLab.Deadline);
        for (var round = 0; round < 10; round++)
        {
            var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
            await lab.Network.DetachAsync(instance.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        }

        // Notifications are read between two calls.
        await lab.Network.ListAsync(NetworkLab.Deadline);
        await lab.Network.ListAsync(NetworkLab.Deadline);
        Assert.False(hint.IsCompleted);
    }

    /// <summary>As `ip link set … nomaster`: struct ifinfomsg, then the attribute.</summary>
    private static NetlinkRequest Unplug(int index) =>
        new NetlinkRequest(MessageType.NewLink, MessageFlag.Request | MessageFlag.Acknowledge)
            .Append(0u).Append(index).Append(0u).Append(0u)
            .Attribute(LinkAttribute.Master, 0u);

    private static void Inside(LabInstance instance, Action<NetlinkSocket> work) => NetworkLab.InNamespace(instance.Inside, () =>
    {
        using var route = NetlinkSocket.Open();
        work(route);
    });
}
