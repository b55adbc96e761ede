using System.Net;
using System.Net.Sockets;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: who reaches whom through the node network, and who must not (HostConfined).</summary>
public sealed class ReachabilityTests
{
    [Fact]
    public async Task An_instance_reaches_a_neighbour_under_the_hosts_address()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        using var server = LabTraffic.ServeTcp(lab.Neighbour, "neighbour", 7000);

        Assert.Equal($"neighbour {NetworkLab.HostAddress}", await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.NeighbourAddress, 7000));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("1")]
    public async Task A_published_port_is_reached_from_loopback_host_neighbour_and_instances(string bridgedPacketsFiltered)
    {
        await using var lab = await NetworkLab.StartAsync();
        lab.Sysctl("net/bridge/bridge-nf-call-iptables", bridgedPacketsFiltered);
        var web = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        var other = await lab.AttachAsync();
        using var server = LabTraffic.ServeTcp(web.Inside, "web", 80);

        Assert.Equal($"web {NetworkLab.Gateway}", await LabTraffic.AskTcpAsync(lab.Host, IPAddress.Loopback, 8080));
        Assert.Equal($"web {NetworkLab.HostAddress}", await LabTraffic.AskTcpAsync(lab.Host, NetworkLab.HostAddress, 8080));
        Assert.Equal($"web {NetworkLab.NeighbourAddress}", await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
        Assert.Equal($"web {NetworkLab.Gateway}", await LabTraffic.AskTcpAsync(other.Inside, NetworkLab.HostAddress, 8080));
        Assert.Equal($"web {NetworkLab.Gateway}", await LabTraffic.AskTcpAsync(web.Inside, NetworkLab.HostAddress, 8080));
        Assert.Equal($"web {other.Address}", await LabTraffic.AskTcpAsync(other.Inside, web.Address, 80));
        Assert.Equal($"web {NetworkLab.Gateway}", await LabTraffic.AskTcpAsync(lab.Host, web.Address, 80));
    }

    [Fact]
    public async Task A_udp_port_and_one_on_a_single_address_are_published_as_asked()
    {
        await using var lab = await NetworkLab.StartAsync();
        var spec = new NetworkSpec
        {
            Ports =
            {
                new PublishedPort { HostPort = 5353, InstancePort = 53, Protocol = IpProtocol.Udp },
                new PublishedPort { HostPort = 9000, InstancePort = 90, Protocol = IpProtocol.Tcp, HostIp = "127.0.0.1" },
            },
        };
        var instance = await lab.AttachAsync(spec);
        using var udp = LabTraffic.ServeUdp(instance.Inside, "udp", 53);
        using var tcp = LabTraffic.ServeTcp(instance.Inside, "tcp", 90);

        Assert.Equal($"udp {NetworkLab.NeighbourAddress}", await LabTraffic.AskUdpAsync(lab.Neighbour, NetworkLab.HostAddress, 5353));
        Assert.Equal($"udp {NetworkLab.Gateway}", await LabTraffic.AskUdpAsync(lab.Host, IPAddress.Loopback, 5353));
        Assert.Equal($"tcp {NetworkLab.Gateway}", await LabTraffic.AskTcpAsync(lab.Host, IPAddress.Loopback, 9000));
        Assert.Null(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 9000));
    }

    [Fact]
    public async Task From_inside_only_dns_of_the_host_can_be_reached()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        using var dns = LabTraffic.ServeTcp(lab.Host, "dns", 53);
        using var dnsDatagrams = LabTraffic.ServeUdp(lab.Host, "dns", 53);
        using var dhcp = LabTraffic.ServeUdp(lab.Host, "dhcp", 67);
        using var ssh = LabTraffic.ServeTcp(lab.Host, "ssh", 22);
        using var api = LabTraffic.ServeTcp(lab.Host, "api", 50052, IPAddress.Loopback);
        using var snmp = LabTraffic.ServeUdp(lab.Host, "snmp", 161);

        Assert.Equal($"dns {instance.Address}", await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.Gateway, 53));
        Assert.Equal($"dns {instance.Address}", await LabTraffic.AskUdpAsync(instance.Inside, NetworkLab.Gateway, 53));
        Assert.Null(await LabTraffic.AskUdpAsync(instance.Inside, NetworkLab.Gateway, 67));
        Assert.Null(await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.Gateway, 22));
        Assert.Null(await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.HostAddress, 22));
        Assert.Null(await LabTraffic.AskUdpAsync(instance.Inside, NetworkLab.Gateway, 161));
        Assert.Equal($"ssh {NetworkLab.NeighbourAddress}", await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 22));
    }

    [Fact]
    public async Task From_inside_the_hosts_loopback_cannot_be_reached_through_the_bridge()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        using var api = LabTraffic.ServeTcp(lab.Host, "api", 50052, IPAddress.Loopback);
        using var dns = LabTraffic.ServeTcp(lab.Host, "dns", 53, IPAddress.Loopback);

        // What a privileged instance would do (CVE-2020-8558): send packets for 127.0.0.1 out of its interface.
        NetworkLab.InNamespace(instance.Inside, () =>
        {
            File.WriteAllText("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1");
            using var route = NetlinkSocket.Open();
            route.RemoveAddress(new AddressInfo(1, IPAddress.Loopback, 8));
        });

        Assert.Null(await LabTraffic.AskTcpAsync(instance.Inside, IPAddress.Loopback, 50052));
        Assert.Null(await LabTraffic.AskTcpAsync(instance.Inside, IPAddress.Loopback, 53));

        // The attack is real: without the guard it succeeds.
        lab.Nft("flush chain inet hypervisor_hv0 guard");
        Assert.NotNull(await LabTraffic.AskTcpAsync(instance.Inside, IPAddress.Loopback, 53));
    }

    [Fact]
    public async Task From_outside_only_published_ports_of_an_instance_can_be_reached()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        using var secret = LabTraffic.ServeTcp(instance.Inside, "secret", 81);
        NetworkLab.InNamespace(lab.Neighbour, () =>
        {
            using var route = NetlinkSocket.Open();
            route.SetDefaultRoute(route.FindLink("uplink")!.Index, NetworkLab.HostAddress);
        });

        Assert.Null(await LabTraffic.AskTcpAsync(lab.Neighbour, instance.Address, 81));

        // The way in is real: without the filter it is open.
        lab.Nft("flush chain inet hypervisor_hv0 forward");
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, instance.Address, 81));
    }

    [Fact]
    public async Task An_instance_cannot_send_under_an_address_outside_the_subnet()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        using var server = LabTraffic.ServeUdp(lab.Neighbour, "neighbour", 7000);
        var forged = IPAddress.Parse("203.0.113.9");
        NetworkLab.InNamespace(instance.Inside, () =>
        {
            using var route = NetlinkSocket.Open();
            route.AddAddress(route.FindLink("eth0")!.Index, forged, 24);
        });
        using var capture = NetworkLab.InNamespace(lab.Host, () => new ForwardCounter());

        SendForged();

        // The honest packet sent after it has passed, so the forged one has been dealt with.
        Assert.NotNull(await LabTraffic.AskUdpAsync(instance.Inside, NetworkLab.NeighbourAddress, 7000));
        Assert.Equal(0, capture.PacketsFrom(forged));

        // The forgery is real: without the guards it gets through.
        lab.Nft("flush chain inet hypervisor_hv0 guard; flush chain bridge hypervisor_hv0 guard");
        SendForged();
        Assert.NotNull(await LabTraffic.AskUdpAsync(instance.Inside, NetworkLab.NeighbourAddress, 7000));
        Assert.Equal(1, capture.PacketsFrom(forged));

        void SendForged() => NetworkLab.InNamespace(instance.Inside, () =>
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Bind(new IPEndPoint(forged, 0));
            socket.SendTo(new byte[] { 1 }, new IPEndPoint(NetworkLab.NeighbourAddress, 7000));
        });
    }
}
