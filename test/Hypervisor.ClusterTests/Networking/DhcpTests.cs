using System.Globalization;
using System.Net;
using Hypervisor.Agent.Networking.Dhcp;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: a guest that asks is told its own address and what belongs to it, whatever happened to the server before.</summary>
public sealed class DhcpTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task A_guest_that_asks_is_told_everything_and_reached_like_a_container()
    {
        await using var lab = await NetworkLab.StartAsync(options => options with { Mtu = 1400, DnsServers = [IPAddress.Parse("192.0.2.53")] });
        var spec = NetworkLab.Publishing((8080, 80));
        spec.DnsSearch.Add(["a.example", "b.example"]);

        // A word of dnsmasq's own, and a number, where names may stand.
        var guest = await lab.AttachTapAsync(spec, "ignore");
        var other = await lab.AttachTapAsync(new NetworkSpec { DnsServers = { "192.0.2.1", "2001:db8::1", "192.0.2.2" } }, "1234");
        var container = await lab.AttachAsync();
        Assert.Equal("", guest.Attachment.DhcpProblem);

        // -a: it makes sure by ARP that nobody has the address.
        var answer = (await guest.Guest!.AskAsync("-a"))!;
        var second = (await other.Guest!.AskAsync())!;

        Assert.Equal(
            (guest.Address.ToString(), "24", NetworkLab.Gateway.ToString(), "1400", "ignore", "192.0.2.53", "a.example b.example"),
            (answer["ip"], answer["mask"], answer["router"], answer["mtu"], answer["hostname"], answer["dns"], answer["search"]));
        Assert.Equal((other.Address.ToString(), "1234", "192.0.2.1 192.0.2.2"), (second["ip"], second["hostname"], second["dns"]));
        using var web = LabTraffic.ServeTcp(guest.Inside, "web", 80);
        using var server = LabTraffic.ServeTcp(lab.Neighbour, "neighbour", 7000);
        Assert.Equal($"web {NetworkLab.NeighbourAddress}", await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
        Assert.Equal($"web {container.Address}", await LabTraffic.AskTcpAsync(container.Inside, guest.Address, 80));
        Assert.Equal($"neighbour {NetworkLab.HostAddress}", await LabTraffic.AskTcpAsync(other.Inside, NetworkLab.NeighbourAddress, 7000));
        Assert.Equal(
            [1400, 1400, 1400, 1400],
            lab.HostLinks().Where(link => link.Name == "hv0" || link.Name.StartsWith("hv-", StringComparison.Ordinal)).Select(link => link.Mtu));
        Assert.Equal(1400, NetworkLab.InNamespace(container.Inside, () =>
        {
            using var route = NetlinkSocket.Open();
            return route.FindLink("eth0")!.Mtu;
        }));
    }

    [Fact]
    public async Task A_killed_server_comes_back_also_the_second_time()
    {
        await using var lab = await NetworkLab.StartAsync();
        var guest = await lab.AttachTapAsync();
        var killed = new List<int>();

        for (var time = 0; time < 2; time++)
        {
            killed.Add(await ServingAsync(lab, killed));
            using var victim = System.Diagnostics.Process.GetProcessById(killed[^1]);
            victim.Kill();
        }

        await ServingAsync(lab, killed);
        Assert.Equal(guest.Address.ToString(), (await guest.Guest!.AskAsync())?["ip"]);
    }

    [Fact]
    public async Task A_guest_keeps_its_answer_over_restarts_of_the_agent_and_the_loss_of_its_bridge()
    {
        await using var lab = await NetworkLab.StartAsync();
        var guest = await lab.AttachTapAsync();
        var before = await ServingAsync(lab, []);

        await lab.RestartAsync();
        await ServingAsync(lab, [before]);
        Assert.Equal("guest", (await guest.Guest!.AskAsync())?["hostname"]);

        lab.OnHost(route => route.DeleteLink("hv0"));
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        Assert.Equal(guest.Address.ToString(), (await guest.Guest!.AskAsync())?["ip"]);

        // Another subnet for those who come now; who is there keeps its own.
        await lab.Network.EnsureAsync(IPNetwork.Parse("10.67.0.0/24"), NetworkLab.Deadline);
        var later = await lab.AttachTapAsync();
        Assert.Equal(guest.Address.ToString(), (await guest.Guest!.AskAsync())?["ip"]);
        Assert.Equal(("10.67.0.2", "10.67.0.1"), await later.Guest!.AskAsync() is { } told ? (told["ip"], told["router"]) : default);
    }

    [Fact]
    public async Task An_address_that_another_guest_got_brings_that_guests_name()
    {
        await using var lab = new NetworkLab();
        await lab.Network.EnsureAsync(IPNetwork.Parse("10.66.0.0/30"), NetworkLab.Deadline);
        var first = await lab.AttachTapAsync(hostname: "first");
        Assert.Equal("first", (await first.Guest!.AskAsync())?["hostname"]);
        await lab.Network.DetachAsync(first.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);

        var second = await lab.AttachTapAsync(hostname: "second");

        Assert.Equal(first.Address, second.Address);
        Assert.Equal("second", (await second.Guest!.AskAsync())?["hostname"]);
    }

    [Fact]
    public async Task Without_the_program_guests_are_attached_and_the_reason_is_told()
    {
        await using var lab = await NetworkLab.StartAsync(options => options with { DhcpProgram = "/nowhere/dnsmasq" });

        var guest = await lab.AttachTapAsync();

        Assert.Contains("dnsmasq-base", guest.Attachment.DhcpProblem, StringComparison.Ordinal);
        Assert.Equal(guest.Attachment.Tap, Assert.Single(lab.HostLinks(), link => link.Kind == "tun").Name);
    }

    [Fact]
    public async Task A_program_that_cannot_start_keeps_no_guest_from_its_network()
    {
        await using var lab = await NetworkLab.StartAsync(options => options with { DhcpProgram = "/bin/false" });

        var guest = await lab.AttachTapAsync();

        Assert.Contains("exit code 1", guest.Attachment.DhcpProblem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task There_is_no_server_without_machines_and_none_after_tearing_down()
    {
        await using var lab = await NetworkLab.StartAsync();
        await lab.AttachAsync();
        Assert.Empty(Servers(lab));
        await lab.AttachTapAsync();
        Assert.Single(Servers(lab));

        // By a process that never saw it: `hypervisor-agent --teardown-network` after a crash.
        await lab.RestartAsync(ensure: false);
        await lab.Network.TearDownAsync(NetworkLab.Deadline);

        Assert.Empty(Servers(lab));
        Assert.False(Directory.Exists(Path.Combine(lab.RunDirectory, "dhcp")));
    }

    private static string ArgumentOf(NetworkLab lab) => $"--conf-file={lab.RunDirectory}/dhcp/dnsmasq.conf";

    private static IReadOnlyList<int> Servers(NetworkLab lab)
    {
        var found = DhcpProcess.FindAll(ArgumentOf(lab));
        foreach (var process in found)
        {
            process.Dispose();
        }

        return [.. found.Select(process => process.Id)];
    }

    /// <summary>One that starts is two or three processes for a moment, of which the last stays and has noted its number.</summary>
    private static async Task<int> ServingAsync(NetworkLab lab, IReadOnlyCollection<int> former)
    {
        var id = 0;
        await RealTime.UntilAsync("one DHCP server serves", Patience, () => Servers(lab) is [var only] && !former.Contains(id = only) && Noted(lab) == only);
        return id;
    }

    /// <summary>0 while there is no file.</summary>
    private static int Noted(NetworkLab lab)
    {
        try
        {
            return int.TryParse(File.ReadAllText($"{lab.RunDirectory}/dhcp/pid"), CultureInfo.InvariantCulture, out var id) ? id : 0;
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
