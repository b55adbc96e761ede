using System.Net;
using System.Net.NetworkInformation;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Agent.Networking.Netlink;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: a machine is connected as a container is: its own address only, repaired, adopted, gone without a trace.</summary>
public sealed class TapTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task A_machine_speaks_as_itself_only()
    {
        await using var lab = await NetworkLab.StartAsync();
        var (machine, container, third) = (await lab.AttachTapAsync(), await lab.AttachAsync(), await lab.AttachTapAsync());

        Assert.Equal(["datagram", "arp"], await SpoofingTests.ArrivingAsync(machine, container, third));
        Assert.Equal(["datagram", "arp"], await SpoofingTests.ArrivingAsync(container, machine, third));
    }

    [Fact]
    public async Task A_machine_asks_about_itself_only_and_answers_nobody()
    {
        await using var lab = await NetworkLab.StartAsync();
        var (machine, victim, container) = (await lab.AttachTapAsync(), await lab.AttachTapAsync(), await lab.AttachAsync());

        Assert.Equal(["probe", "discover", "renewal"], await ArrivingAsync(machine, victim));

        // A container is told its address, and has nothing to ask.
        Assert.Equal(["probe"], await ArrivingAsync(container, victim));

        // The same from records, and after somebody flushed the rules.
        await lab.RestartAsync();
        lab.Nft("flush ruleset");
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        Assert.Equal(["probe", "discover", "renewal"], await ArrivingAsync(machine, victim));

        // The forgeries are real: without the guard they get through, where the bridge asks no other.
        lab.Sysctl("net/bridge/bridge-nf-call-iptables", "0");
        lab.Nft("flush chain bridge hypervisor_hv0 guard");
        Assert.Equal(13, (await ArrivingAsync(machine, victim)).Count);
    }

    [Fact]
    public async Task A_tap_that_somebody_deletes_is_reported_and_made_anew_as_another()
    {
        await using var lab = await NetworkLab.StartAsync();
        var machine = await lab.AttachTapAsync();
        var hint = lab.Network.WaitForChangeAsync(NetworkLab.Deadline);

        lab.OnHost(route => route.DeleteLink(machine.Attachment.Tap));
        await hint.WaitAsync(Patience, NetworkLab.Deadline);
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        var again = await lab.Network.AttachAsync(machine.Id, NetworkLab.EpochOf(1), new(), ConnectionKind.Tap, "guest", NetworkLab.Deadline);

        Assert.Equal(machine.Attachment with { TapIndex = again.TapIndex }, again);
        Assert.NotEqual(machine.Attachment.TapIndex, again.TapIndex);
        var restarted = lab.SwitchOn(machine.Id, again);
        Assert.Equal(machine.Address.ToString(), (await restarted.Guest!.AskAsync())?["ip"]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_restarted_agent_finds_the_tap_with_and_without_its_record(bool recordLost)
    {
        await using var lab = await NetworkLab.StartAsync();
        var machine = await lab.AttachTapAsync();
        if (recordLost)
        {
            Directory.Delete(Path.Combine(lab.DataDirectory, "network", "attachments"), recursive: true);
        }

        await lab.RestartAsync();

        Assert.Equal([machine.Id], await lab.Network.ListAsync(NetworkLab.Deadline));
        Assert.NotEqual(machine.Address, (await lab.AttachAsync()).Address);
        Assert.Equal(
            machine.Attachment,
            await lab.Network.AttachAsync(machine.Id, NetworkLab.EpochOf(1), new(), ConnectionKind.Tap, "guest", NetworkLab.Deadline));
        Assert.Equal(machine.Address.ToString(), (await machine.Guest!.AskAsync())?["ip"]);
    }

    [Fact]
    public async Task After_detaching_nothing_of_a_machine_remains_though_its_vmm_still_runs()
    {
        await using var lab = await NetworkLab.StartAsync();
        var before = lab.HostLinks().Select(link => link.Name).Order().ToList();
        var rules = lab.Nft("list ruleset");
        var machine = await lab.AttachTapAsync(NetworkLab.Publishing((8080, 80)));

        await lab.Network.DetachAsync(machine.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        await lab.Network.DetachAsync(machine.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);

        Assert.Equal(before, lab.HostLinks().Select(link => link.Name).Order());
        Assert.Equal(rules, lab.Nft("list ruleset"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(lab.DataDirectory, "network", "attachments")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(lab.RunDirectory, "dhcp", "hosts")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(lab.RunDirectory, "dhcp", "options")));
        Assert.Empty(await lab.Network.ListAsync(NetworkLab.Deadline));
    }

    [Fact]
    public async Task An_instance_that_becomes_another_type_keeps_its_address()
    {
        await using var lab = await NetworkLab.StartAsync();
        var container = await lab.AttachAsync();
        container.Inside.Dispose();

        var machine = await lab.Network.AttachAsync(container.Id, NetworkLab.EpochOf(2), new(), ConnectionKind.Tap, "guest", NetworkLab.Deadline);
        Assert.Equal((container.Address, ""), (machine.Address, machine.NamespacePath));
        Assert.Equal("tun", Assert.Single(lab.HostLinks(), link => link.Name == machine.Tap).Kind);
        Assert.Empty(lab.Mounts());

        var again = await lab.Network.AttachAsync(container.Id, NetworkLab.EpochOf(3), new(), ConnectionKind.Namespace, "", NetworkLab.Deadline);
        Assert.Equal(container.Attachment, again);
        Assert.Equal("veth", Assert.Single(lab.HostLinks(), link => link.Name == machine.Tap).Kind);
    }

    [Fact]
    public async Task The_mtu_is_that_of_the_way_out_and_follows_it()
    {
        await using var lab = new NetworkLab();
        lab.OnHost(route =>
        {
            var uplink = route.FindLink("uplink")!.Index;
            route.SetMtu(uplink, 1450);
            route.SetDefaultRoute(uplink, NetworkLab.NeighbourAddress);
        });
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        var machine = await lab.AttachTapAsync();
        Assert.Equal(("1450", 1450), ((await machine.Guest!.AskAsync())?["mtu"], machine.Attachment.Mtu));

        lab.OnHost(route => route.SetMtu(route.FindLink("uplink")!.Index, 1300));
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);

        Assert.Equal(1300, Assert.Single(lab.HostLinks(), link => link.Name == machine.Attachment.Tap).Mtu);
        Assert.Equal("1300", (await machine.Guest!.AskAsync())?["mtu"]);
    }

    [Fact]
    public async Task Only_root_may_be_the_guest_and_only_once()
    {
        await using var lab = await NetworkLab.StartAsync();
        var machine = await lab.AttachTapAsync();

        var refused = Assert.Throws<SystemCallException>(() => NetworkLab.InNamespace(lab.Host, () => Taps.Open(machine.Attachment.Tap)));

        Assert.Contains("busy", refused.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal("0", NetworkLab.InNamespace(lab.Host, () => OwnerOf(machine.Attachment.Tap)));
    }

    /// <summary>As the kernel lists it in the namespace of the calling thread; /sys shows that of whoever mounted it, so it is mounted here.</summary>
    private static string OwnerOf(string tap)
    {
        var folder = Directory.CreateTempSubdirectory("hv-sys-").FullName;
        Errno.Check(Libc.Mount("sysfs", folder, "sysfs", 0, 0), "mount");
        try
        {
            return File.ReadAllText($"{folder}/class/net/{tap}/owner").Trim();
        }
        finally
        {
            Errno.Check(Libc.Unmount(folder, Libc.UnmountDetach), "umount");
            Directory.Delete(folder);
        }
    }

    /// <summary>What of everything that one may ask arrives at another.</summary>
    private static async Task<List<string>> ArrivingAsync(LabInstance asker, LabInstance victim)
    {
        var (own, other) = (PhysicalAddress.Parse(asker.Attachment.HardwareAddress), PhysicalAddress.Parse(victim.Attachment.HardwareAddress));
        var third = PhysicalAddress.Parse("02:68:0A:42:00:63");
        var (nobody, everybody) = ((IPAddress.Any, (ushort)68), (IPAddress.Broadcast, (ushort)67));
        using var receiver = Frames.Open(victim);
        using var sender = Frames.Open(asker);
        byte[][] frames =
        [
            Frames.ArpProbe(own, own, asker.Address, "<probe>"),
            Frames.ArpProbe(own, own, victim.Address, "<probe for another's address>"),
            Frames.ArpProbe(own, other, asker.Address, "<probe under another's hardware address>"),
            Frames.Dhcp(Frames.Everyone, own, nobody, everybody, own, "<discover>"),
            Frames.Dhcp(Frames.Everyone, own, nobody, everybody, other, "<discover about another>"),
            Frames.Dhcp(Frames.Everyone, third, nobody, everybody, own, "<discover under another's hardware address>"),
            Frames.Dhcp(other, own, nobody, (victim.Address, 67), own, "<discover to one alone>"),
            Frames.Dhcp(Frames.Everyone, own, (victim.Address, 68), everybody, own, "<discover from another's address>"),
            Frames.Dhcp(other, own, (asker.Address, 68), (victim.Address, 67), own, "<renewal>"),
            Frames.Dhcp(other, own, (asker.Address, 68), (victim.Address, 67), other, "<decline for another>"),
            Frames.Dhcp(other, own, (asker.Address, 67), (victim.Address, 68), other, "<offer>"),
            Frames.Datagram(other, own, IPAddress.Any, IPAddress.Broadcast, "<anything from nobody>"),
            Frames.Dhcp(Frames.Everyone, own, (IPAddress.Any, 5000), (IPAddress.Broadcast, 5001), own, "<datagram from nobody>"),
            Frames.Datagram(other, own, asker.Address, victim.Address, "<last>"),
        ];
        foreach (var frame in frames)
        {
            Assert.Equal(frame.Length, sender.Send(frame));
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(NetworkLab.Deadline);
        patience.CancelAfter(Patience);
        return await Frames.TagsUpToAsync(receiver, other, "last", patience.Token);
    }
}
