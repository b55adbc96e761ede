using System.Net;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: an instance speaks on the bridge as itself only (TenantSealed).</summary>
public sealed class SpoofingTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task Frames_under_another_address_do_not_arrive_and_ones_own_do()
    {
        await using var lab = await NetworkLab.StartAsync();
        var attacker = await lab.AttachAsync();
        var victim = await lab.AttachAsync();
        var third = await lab.AttachAsync();

        Assert.Equal(["datagram", "arp"], await ArrivingAsync(attacker, victim, third));

        // The same of one that is attached again, after a restart, and once somebody flushed the rules.
        await lab.RestartAsync(ensure: false);
        Assert.Equal(["datagram", "arp"], await ArrivingAsync(attacker, victim, third));
        lab.Nft("flush ruleset");
        await lab.Network.EnsureAsync(NetworkLab.Subnet, NetworkLab.Deadline);
        Assert.Equal(["datagram", "arp"], await ArrivingAsync(third, victim, attacker));

        // The forgeries are real: without the guard they get through, where the bridge asks no other.
        lab.Sysctl("net/bridge/bridge-nf-call-iptables", "0");
        lab.Sysctl("net/bridge/bridge-nf-call-ip6tables", "0");
        lab.Nft("flush chain bridge hypervisor_hv0 guard");
        Assert.Equal(13, (await ArrivingAsync(third, victim, attacker)).Count);
    }

    [Fact]
    public async Task An_address_that_was_taken_over_is_unguarded_by_nothing_of_its_former_owner()
    {
        await using var lab = await NetworkLab.StartAsync();
        var victim = await lab.AttachAsync();
        var former = await lab.AttachAsync();
        await lab.Network.DetachAsync(former.Id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        Assert.DoesNotContain(NetworkLab.LinkOf(former), lab.Nft("list table bridge hypervisor_hv0"), StringComparison.Ordinal);

        var next = await lab.AttachAsync();
        var third = await lab.AttachAsync();

        Assert.Equal(["datagram", "arp"], await ArrivingAsync(next, victim, third));
    }

    /// <summary>What of everything that an attacker may send to a victim arrives there, also in the name of a third.</summary>
    internal static async Task<List<string>> ArrivingAsync(LabInstance attacker, LabInstance victim, LabInstance third)
    {
        var (own, to, other) = (Mac(attacker), Mac(victim), Mac(third));
        using var receiver = Frames.Open(victim);
        using var sender = Frames.Open(attacker);
        byte[][] frames =
        [
            Frames.Datagram(to, own, attacker.Address, victim.Address, "<datagram>"),
            Frames.Datagram(to, own, third.Address, victim.Address, "<datagram of another's address>"),
            Frames.Datagram(to, own, NetworkLab.Gateway, victim.Address, "<datagram of the gateway's address>"),
            Frames.Datagram(to, own, IPAddress.Parse("192.0.2.1"), victim.Address, "<datagram of a foreign address>"),
            Frames.Datagram(to, other, attacker.Address, victim.Address, "<datagram under another's hardware address>"),
            Frames.Datagram(to, other, third.Address, victim.Address, "<datagram of another altogether>"),
            Frames.ArpReply(to, own, own, attacker.Address, victim.Address, "<arp>"),
            Frames.ArpReply(to, own, own, third.Address, victim.Address, "<arp for another's address>"),
            Frames.ArpReply(to, own, own, NetworkLab.Gateway, victim.Address, "<arp for the gateway's address>"),
            Frames.ArpReply(to, own, other, attacker.Address, victim.Address, "<arp for another's hardware address>"),
            Frames.ArpReply(to, other, other, third.Address, victim.Address, "<arp of another altogether>"),
            Frames.Frame(to, own, Frames.Ipv6, [0x60, 0, 0, 0, 0, 0, 59, 64, .. new byte[32], .. "<ipv6>"u8]),
            Frames.Frame(to, own, Frames.Vlan, [0, 5, .. Frames.Datagram(to, own, third.Address, victim.Address, "<inside a vlan tag>")[12..]]),
            Frames.Datagram(to, own, attacker.Address, victim.Address, "<last>"),
        ];
        foreach (var frame in frames)
        {
            Assert.Equal(frame.Length, sender.Send(frame));
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(NetworkLab.Deadline);
        patience.CancelAfter(Patience);
        return await Frames.TagsUpToAsync(receiver, to, "last", patience.Token);
    }

    private static System.Net.NetworkInformation.PhysicalAddress Mac(LabInstance instance) => instance.Address.ToHardwareAddressForTest();
}
