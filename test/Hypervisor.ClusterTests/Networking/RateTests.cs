using Hypervisor.Agent.Networking;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>Protects: no instance gets more of the network than it may have, whatever became of the agent since, and rates go as they came.</summary>
public sealed class RateTests
{
    private const long Rate = 512 << 10;
    private const int Bytes = 3 << 19;

    private static readonly NetworkRates Both = new() { ReceiveBytesPerSecond = Rate, TransmitBytesPerSecond = Rate };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nothing_passes_faster_than_the_rate_in_either_direction(bool machine)
    {
        await using var lab = await NetworkLab.StartAsync();
        var spec = new NetworkSpec { Rates = Both };
        var slow = machine ? await lab.AttachTapAsync(spec) : await lab.AttachAsync(spec);
        var fast = await lab.AttachAsync();
        if (slow.Guest is { } guest)
        {
            Assert.NotNull(await guest.AskAsync());
        }

        // Three seconds' worth, but for what passes at once: 128 KiB and one second's worth.
        var received = await LabTraffic.SendAsync(fast.Inside, slow.Inside, slow.Address, Bytes);
        var sent = await LabTraffic.SendAsync(slow.Inside, fast.Inside, fast.Address, Bytes);

        Assert.True(received > TimeSpan.FromSeconds(1.5), $"{Bytes} bytes were received in {received}");
        Assert.True(sent > TimeSpan.FromSeconds(1.5), $"{Bytes} bytes were sent in {sent}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Rates_change_while_attached_survive_the_agent_and_its_absence_and_leave_nothing(bool machine)
    {
        await using var lab = await NetworkLab.StartAsync();
        var id = lab.NewId();
        await Attach(Both);
        Assert.Equal(2, InForce("rate over 512 kbytes/second"));

        // The next agent repairs what somebody took away meanwhile.
        lab.Nft("flush ruleset");
        await lab.RestartAsync();
        Assert.Equal(2, InForce("rate over 512 kbytes/second"));

        await Attach(new() { TransmitBytesPerSecond = 2 * Rate });
        Assert.Equal((1, 1), (InForce("rate over 1 mbytes/second"), InForce("rate over")));
        await Attach(null);
        Assert.Equal(0, InForce("rate over"));

        await Attach(Both);
        await lab.Network.DetachAsync(id, NetworkLab.EpochOf(1), NetworkLab.Deadline);
        Assert.Equal(0, InForce("rate over"));

        Task Attach(NetworkRates? rates) => lab.Network.AttachAsync(
            id, NetworkLab.EpochOf(1), new() { Rates = rates }, machine ? ConnectionKind.Tap : ConnectionKind.Namespace, "", NetworkLab.Deadline);

        int InForce(string limit) => lab.Nft("list table bridge hypervisor_hv0").Split(limit).Length - 1;
    }
}
