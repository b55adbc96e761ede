using System.Net;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: a host becomes no router between its own networks because instances need forwarding (HostConfined).</summary>
public sealed class ForwardingTests
{
    private static readonly IPAddress HostOnFarSide = IPAddress.Parse("203.0.113.1");
    private static readonly IPAddress Far = IPAddress.Parse("203.0.113.2");

    [Theory]
    [InlineData("0", false)]
    [InlineData("1", true)]
    public async Task The_hosts_other_interfaces_are_routed_between_only_where_they_were_before(string before, bool routed)
    {
        await using var lab = new NetworkLab();
        using var far = Behind(lab);
        lab.Sysctl("net/ipv4/ip_forward", before);
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        using var server = LabTraffic.ServeTcp(far, "far", 7000);
        using var web = LabTraffic.ServeTcp(instance.Inside, "web", 80);

        Assert.Equal("1", lab.Sysctl("net/ipv4/ip_forward"));
        Assert.Equal(routed, await LabTraffic.AskTcpAsync(lab.Neighbour, Far, 7000) is not null);
        Assert.Equal($"far {HostOnFarSide}", await LabTraffic.AskTcpAsync(instance.Inside, Far, 7000));
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));

        // The same after the agent's restart, which finds forwarding on.
        await lab.RestartAsync();
        Assert.Equal(routed, await LabTraffic.AskTcpAsync(lab.Neighbour, Far, 7000) is not null);

        await lab.Network.TearDownAsync(NetworkLab.Deadline);
        Assert.Equal(before, lab.Sysctl("net/ipv4/ip_forward"));
        Assert.Equal("", lab.Nft("list ruleset"));
    }

    [Fact]
    public async Task Two_agents_of_one_host_do_not_cut_each_others_instances_off()
    {
        await using var lab = await NetworkLab.StartAsync();
        using var far = Behind(lab);
        using var second = new NodeNetwork(
            new NetworkOptions
            {
                Bridge = "hv1",
                DataDirectory = Path.Combine(lab.DataDirectory, "second"),
                RunDirectory = Path.Combine(lab.RunDirectory, "second"),
                HostNamespace = $"/proc/self/fd/{(int)lab.Host.DangerousGetHandle()}",
            },
            RealTime.Clock,
            NullLogger<NodeNetwork>.Instance);
        await second.EnsureAsync(IPNetwork.Parse("10.67.0.0/24"), NetworkLab.Deadline);
        try
        {
            var attachment = await second.AttachAsync(lab.NewId(), NetworkLab.EpochOf(1), new NetworkSpec(), ConnectionKind.Namespace, "", NetworkLab.Deadline);
            using var inside = NetworkLab.OpenPath(attachment.NamespacePath);
            using var server = LabTraffic.ServeTcp(far, "far", 7000);

            Assert.Equal($"far {HostOnFarSide}", await LabTraffic.AskTcpAsync(inside, Far, 7000));
            Assert.Null(await LabTraffic.AskTcpAsync(lab.Neighbour, Far, 7000));
        }
        finally
        {
            await second.TearDownAsync(NetworkLab.Deadline);
        }
    }

    /// <summary>A second neighbour on another interface of the host; both neighbours send what is not theirs to the host.</summary>
    private static SafeFileHandle Behind(NetworkLab lab)
    {
        SafeFileHandle? made = null;
        var thread = new Thread(() =>
        {
            Errno.Check(Libc.Unshare(Libc.CloneNewNet), "unshare");
            made = NetworkLab.OpenPath("/proc/thread-self/ns/net");
        });
        thread.Start();
        thread.Join();
        var far = made ?? throw new InvalidOperationException("No namespace could be made: the tests need root.");
        lab.OnHost(route =>
        {
            route.CreateVeth(new("far", 0, "uplink", Far.ToHardwareAddressForTest(), (int)far.DangerousGetHandle()));
            var link = route.FindLink("far")!;
            route.AddAddress(link.Index, HostOnFarSide, 24);
            route.SetUp(link.Index);
        });
        NetworkLab.InNamespace(far, () => Configure(Far, HostOnFarSide));
        NetworkLab.InNamespace(lab.Neighbour, () => Configure(null, NetworkLab.HostAddress));
        return far;

        static void Configure(IPAddress? address, IPAddress gateway)
        {
            using var route = NetlinkSocket.Open();
            var link = route.FindLink("uplink")!;
            if (address is not null)
            {
                route.SetUp(1);
                route.AddAddress(link.Index, address, 24);
                route.SetUp(link.Index);
            }

            route.SetDefaultRoute(link.Index, gateway);
        }
    }
}
