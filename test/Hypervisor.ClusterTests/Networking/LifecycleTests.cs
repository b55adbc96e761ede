using System.Net;
using System.Net.Sockets;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: attachments are idempotent, leave nothing (NoOrphans), survive the agent and a reboot, and are refused when stale (EpochMonotonic).</summary>
public sealed class LifecycleTests
{
    [Fact]
    public async Task After_detaching_nothing_of_an_instance_remains()
    {
        await using var lab = await NetworkLab.StartAsync();
        var before = lab.HostLinks().Select(link => link.Name).Order().ToList();
        var rules = lab.Nft("list table inet hypervisor_hv0");
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        instance.Inside.Dispose();

        await lab.Network.DetachAsync(instance.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        await lab.Network.DetachAsync(instance.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);

        Assert.Equal(before, lab.HostLinks().Select(link => link.Name).Order());
        Assert.Equal(rules, lab.Nft("list table inet hypervisor_hv0"));
        Assert.Empty(lab.Mounts());
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(lab.RunDirectory, "netns")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(lab.DataDirectory, "network", "attachments")));
        Assert.Empty(await lab.Network.ListAsync(NetworkLab.Deadline));
    }

    [Fact]
    public async Task Attaching_again_finds_what_is_there_and_changes_only_the_ports()
    {
        await using var lab = await NetworkLab.StartAsync();
        var first = await lab.AttachAsync(NetworkLab.Publishing((8080, 80), (8081, 81)));
        using var server = LabTraffic.ServeTcp(first.Inside, "web", 80);

        var second = await lab.Network.AttachAsync(first.Id, NetworkLab.EpochOf(1), NetworkLab.Publishing((8080, 80), (8082, 80)), ConnectionKind.Namespace, "", NetworkLab.Deadline);

        Assert.Equal(first.Attachment, second);
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8082));
        Assert.DoesNotContain("8081", lab.Nft("list table inet hypervisor_hv0"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lower_epoch_is_refused_also_after_a_restart()
    {
        await using var lab = await NetworkLab.StartAsync();
        var id = lab.NewId();
        await lab.Network.AttachAsync(id, NetworkLab.EpochOf(5), new(), ConnectionKind.Namespace, "", NetworkLab.Deadline);
        await lab.RestartAsync();

        var refused = await Assert.ThrowsAsync<DriverException>(() => lab.Network.AttachAsync(id, NetworkLab.EpochOf(4), new(), ConnectionKind.Namespace, "", NetworkLab.Deadline));

        Assert.Equal("StaleEpoch", refused.Reason);
    }

    [Fact]
    public async Task A_port_published_by_another_instance_is_refused_by_name()
    {
        await using var lab = await NetworkLab.StartAsync();
        var holder = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        var wanted = new NetworkSpec { Ports = { new PublishedPort { HostPort = 8080, InstancePort = 1, HostIp = "127.0.0.1" } } };

        var refused = await Assert.ThrowsAsync<DriverException>(() => lab.AttachAsync(wanted));

        Assert.Equal("PortInUse", refused.Reason);
        Assert.Contains(holder.Id.Value, refused.Message, StringComparison.Ordinal);
        Assert.Single(await lab.Network.ListAsync(NetworkLab.Deadline));
    }

    [Fact]
    public async Task A_port_on_which_the_host_listens_is_refused()
    {
        await using var lab = await NetworkLab.StartAsync();
        using var server = LabTraffic.ServeTcp(lab.Host, "host", 8080, IPAddress.Loopback);

        var refused = await Assert.ThrowsAsync<DriverException>(() => lab.AttachAsync(NetworkLab.Publishing((8080, 80))));

        Assert.Equal("PortInUse", refused.Reason);
    }

    [Fact]
    public async Task A_restarted_agent_adopts_what_runs_without_touching_it()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        using var server = LabTraffic.ServeTcp(instance.Inside, "web", 80);
        using var open = NetworkLab.InNamespace(lab.Neighbour, () => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        var index = Assert.Single(lab.HostLinks(), link => link.Name == NetworkLab.LinkOf(instance)).Index;

        await lab.RestartAsync();

        Assert.Equal([instance.Id], await lab.Network.ListAsync(NetworkLab.Deadline));
        Assert.Equal(index, Assert.Single(lab.HostLinks(), link => link.Name == NetworkLab.LinkOf(instance)).Index);
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
        var next = await lab.AttachAsync();
        Assert.NotEqual(instance.Address, next.Address);
    }

    [Fact]
    public async Task An_instance_whose_record_was_deleted_keeps_its_address()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        using var server = LabTraffic.ServeTcp(instance.Inside, "web", 80);
        Directory.Delete(Path.Combine(lab.DataDirectory, "network"), recursive: true);
        await lab.RestartAsync();

        var again = await lab.Network.AttachAsync(instance.Id, NetworkLab.EpochOf(1), NetworkLab.Publishing((8080, 80)), ConnectionKind.Namespace, "", NetworkLab.Deadline);

        Assert.Equal(instance.Attachment, again);
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
    }

    [Fact]
    public async Task What_a_crash_left_half_made_is_listed_completed_and_removed()
    {
        await using var lab = await NetworkLab.StartAsync();
        var (completed, removed) = (lab.NewId(), lab.NewId());

        // Died between making the file and mounting on it.
        var namespaces = Directory.CreateDirectory(Path.Combine(lab.RunDirectory, "netns")).FullName;
        File.WriteAllText(Path.Combine(namespaces, completed.Value), "");
        File.WriteAllText(Path.Combine(namespaces, removed.Value), "");
        await lab.RestartAsync();
        Assert.Equal([completed, removed], await lab.Network.ListAsync(NetworkLab.Deadline));

        var attachment = await lab.Network.AttachAsync(completed, NetworkLab.EpochOf(1), new(), ConnectionKind.Namespace, "", NetworkLab.Deadline);
        await lab.Network.DetachAsync(removed, NetworkLab.EpochOf(1), NetworkLab.Deadline);

        Assert.Equal([attachment.NamespacePath], lab.Mounts());
        Assert.Equal([completed], await lab.Network.ListAsync(NetworkLab.Deadline));
    }

    [Fact]
    public async Task A_cable_whose_namespace_died_is_replaced()
    {
        await using var lab = await NetworkLab.StartAsync();
        var instance = await lab.AttachAsync();
        Assert.Equal(0, Agent.Networking.Interop.Libc.Unmount(instance.Attachment.NamespacePath, Agent.Networking.Interop.Libc.UnmountDetach));

        // The old namespace lives on through the open handle, with the old cable's other end in it.
        var again = await lab.Network.AttachAsync(instance.Id, NetworkLab.EpochOf(2), new(), ConnectionKind.Namespace, "", NetworkLab.Deadline);

        using var inside = NetworkLab.OpenPath(again.NamespacePath);
        using var server = LabTraffic.ServeTcp(lab.Neighbour, "neighbour", 7000);
        Assert.NotNull(await LabTraffic.AskTcpAsync(inside, NetworkLab.NeighbourAddress, 7000));
        Assert.Null(await LabTraffic.AskTcpAsync(instance.Inside, NetworkLab.NeighbourAddress, 7000));
    }

    [Fact]
    public async Task After_a_reboot_everything_is_rebuilt_under_the_same_address()
    {
        await using var lab = await NetworkLab.StartAsync();
        var before = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        before.Inside.Dispose();

        // What a reboot leaves: the data directory.
        lab.Network.Dispose();
        foreach (var mount in lab.Mounts())
        {
            Assert.Equal(0, Agent.Networking.Interop.Libc.Unmount(mount, Agent.Networking.Interop.Libc.UnmountDetach));
        }

        Directory.Delete(lab.RunDirectory, recursive: true);
        lab.Nft("flush ruleset");
        lab.OnHost(route => route.DeleteLink(NetworkLab.LinkOf(before)));
        lab.OnHost(route => route.DeleteLink("hv0"));
        lab.Sysctl("net/ipv4/ip_forward", "0");
        await lab.RestartAsync();
        var after = await lab.Network.AttachAsync(before.Id, NetworkLab.EpochOf(1), NetworkLab.Publishing((8080, 80)), ConnectionKind.Namespace, "", NetworkLab.Deadline);

        Assert.Equal(before.Attachment, after);
        using var inside = NetworkLab.OpenPath(after.NamespacePath);
        using var server = LabTraffic.ServeTcp(inside, "web", 80);
        Assert.NotNull(await LabTraffic.AskTcpAsync(lab.Neighbour, NetworkLab.HostAddress, 8080));
    }

    [Fact]
    public async Task Tearing_down_removes_everything_and_restores_the_hosts_settings()
    {
        await using var lab = new NetworkLab();
        Assert.Equal("0", lab.Sysctl("net/ipv4/ip_forward"));
        var before = lab.HostLinks().Select(link => link.Name).ToList();
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        var instance = await lab.AttachAsync(NetworkLab.Publishing((8080, 80)));
        instance.Inside.Dispose();
        Assert.Equal("1", lab.Sysctl("net/ipv4/ip_forward"));

        // By a process that never saw the subnet: `hypervisor-agent --teardown-network` after a crash.
        await lab.RestartAsync(ensure: false);
        await lab.Network.TearDownAsync(NetworkLab.Deadline);
        await lab.Network.TearDownAsync(NetworkLab.Deadline);

        Assert.Equal("0", lab.Sysctl("net/ipv4/ip_forward"));
        Assert.Equal(before, lab.HostLinks().Select(link => link.Name));
        Assert.Equal("", lab.Nft("list ruleset"));
        Assert.Empty(lab.Mounts());
        Assert.Empty(Directory.EnumerateFiles(lab.DataDirectory, "*", SearchOption.AllDirectories));
        Assert.Empty(Directory.EnumerateFileSystemEntries(lab.RunDirectory));
    }

    [Fact]
    public async Task Tearing_down_leaves_forwarding_on_where_it_was_on()
    {
        await using var lab = new NetworkLab();
        lab.Sysctl("net/ipv4/ip_forward", "1");
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);

        await lab.Network.TearDownAsync(NetworkLab.Deadline);

        Assert.Equal("1", lab.Sysctl("net/ipv4/ip_forward"));
    }

    [Fact]
    public async Task Fifty_instances_attached_and_detached_at_once_get_fifty_addresses_and_leave_nothing()
    {
        await using var lab = await NetworkLab.StartAsync();
        var ids = Enumerable.Range(0, 50).Select(_ => lab.NewId()).ToList();

        var attachments = await Task.WhenAll(ids.Select((id, number) =>
            lab.Network.AttachAsync(id, NetworkLab.EpochOf(1), NetworkLab.Publishing((20000 + number, 80)), ConnectionKind.Namespace, "", NetworkLab.Deadline)));
        Assert.Equal(50, attachments.Select(attachment => attachment.Address).Distinct().Count());
        Assert.Equal(50, (await lab.Network.ListAsync(NetworkLab.Deadline)).Count);

        await Task.WhenAll(ids.Select(id => lab.Network.DetachAsync(id, NetworkLab.EpochOf(1), NetworkLab.Deadline)));

        Assert.Empty(lab.Mounts());
        Assert.Empty(await lab.Network.ListAsync(NetworkLab.Deadline));
        Assert.DoesNotContain(lab.HostLinks(), link => link.Name.StartsWith("hv-", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_full_subnet_says_so_and_a_detached_instance_makes_room()
    {
        await using var lab = new NetworkLab();
        await lab.Network.EnsureAsync(IPNetwork.Parse("10.66.0.0/30"), NetworkLab.Deadline);
        var only = await lab.AttachAsync();

        var full = await Assert.ThrowsAsync<DriverException>(() => lab.AttachAsync());
        Assert.Equal("AddressesExhausted", full.Reason);

        await lab.Network.DetachAsync(only.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        Assert.Equal(only.Address, (await lab.AttachAsync()).Address);
    }

    [Fact]
    public async Task Instances_of_a_former_subnet_stay_connected_after_the_node_got_another()
    {
        await using var lab = await NetworkLab.StartAsync();
        var old = await lab.AttachAsync();
        using var server = LabTraffic.ServeTcp(lab.Neighbour, "neighbour", 7000);

        await lab.Network.EnsureAsync(IPNetwork.Parse("10.67.0.0/24"), NetworkLab.Deadline);
        var fresh = await lab.AttachAsync();

        Assert.Equal("10.67.0.2", fresh.Address.ToString());
        Assert.NotNull(await LabTraffic.AskTcpAsync(old.Inside, NetworkLab.NeighbourAddress, 7000));
        Assert.NotNull(await LabTraffic.AskTcpAsync(fresh.Inside, NetworkLab.NeighbourAddress, 7000));
    }

    [Fact]
    public async Task A_subnet_that_the_host_already_uses_is_refused()
    {
        await using var lab = new NetworkLab();

        var refused = await Assert.ThrowsAsync<DriverException>(() =>
            lab.Network.EnsureAsync(IPNetwork.Parse("198.51.100.128/25"), NetworkLab.Deadline));

        Assert.Equal("SubnetInUse", refused.Reason);
        Assert.Equal("0", lab.Sysctl("net/ipv4/ip_forward"));
        Assert.Equal("NetworkNotReady", (await Assert.ThrowsAsync<DriverException>(() => lab.AttachAsync())).Reason);
    }

    [Fact]
    public async Task A_bridge_of_somebody_else_is_neither_used_nor_removed()
    {
        await using var lab = new NetworkLab();
        lab.OnHost(route => route.CreateBridge("hv0", new([0x52, 0x54, 0, 1, 2, 3]), 0));

        var refused = await Assert.ThrowsAsync<DriverException>(() => lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline));

        Assert.Equal("BridgeNameTaken", refused.Reason);
        lab.OnHost(route => route.DeleteLink("hv0"));
    }
}
