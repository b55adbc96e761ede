using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Nodes;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: NoStorm, and that only transitions of liveness are written, by the leader only.</summary>
public sealed class NodeHealthControllerTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Beats_and_silence_become_transitions_and_nothing_between_them_is_written()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var node = new NodeId((await plane.Registry.RegisterAsync(ControlPlane.Registration("a"), Token)).Node.Metadata.Uid);
        var term = new LeaderTerm(leadership.Guard);
        var listening = TimeSpan.FromMinutes(1);

        Assert.Equal(NodeLiveness.Ready, await LookAsync());
        var before = await plane.Store.GetRevisionAsync(Token);
        for (var i = 0; i < 10; i++)
        {
            plane.Time.Advance(TimeSpan.FromSeconds(1));
            plane.Beats.Record(node, 0);
            Assert.Equal(NodeLiveness.Ready, await LookAsync());
        }

        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
        plane.Time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(NodeLiveness.Suspect, await LookAsync());
        plane.Time.Advance(TimeSpan.FromSeconds(2.9));
        Assert.Equal(NodeLiveness.Suspect, await LookAsync());
        plane.Time.Advance(TimeSpan.FromSeconds(0.1));
        Assert.Equal(NodeLiveness.Down, await LookAsync());
        Assert.Contains("lease of 5 s", plane.State.View.Node(node)!.HealthRecord!.Message, StringComparison.Ordinal);
        plane.Beats.Record(node, 0);
        Assert.Equal(NodeLiveness.Ready, await LookAsync());
        Assert.Equal(before + 3, await plane.Store.GetRevisionAsync(Token));

        async Task<NodeLiveness> LookAsync()
        {
            await plane.Health.LookAsync(term, plane.State.View, listening, plane.Time.GetTimestamp(), Token);
            return plane.State.View.Node(node)!.Liveness;
        }
    }

    [Fact]
    public async Task A_fresh_leader_calls_nobody_down_before_one_full_lease()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        plane.Time.Advance(TimeSpan.FromHours(1));
        await using var leadership = await plane.CampaignAsync(Token);
        var window = new ListeningWindow(ControlPlane.Terms, plane.Time);

        for (var second = 0; second < 5; second++)
        {
            Assert.Equal(NodeLiveness.Ready, await LookAsync());
            plane.Time.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.Equal(NodeLiveness.Down, await LookAsync());

        async Task<NodeLiveness> LookAsync()
        {
            var now = plane.Time.GetTimestamp();
            await plane.Health.LookAsync(new(leadership.Guard), plane.State.View, window.Look(now, out _), now, Token);
            return plane.State.View.Node(node)!.Liveness;
        }
    }

    [Fact]
    public void A_process_that_did_not_run_begins_to_listen_anew()
    {
        var time = new FakeTimeProvider();
        var window = new ListeningWindow(ControlPlane.Terms, time);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(TimeSpan.FromSeconds(2), window.Look(time.GetTimestamp(), out var gap));
        Assert.Null(gap);

        time.Advance(TimeSpan.FromSeconds(15));
        Assert.Equal(TimeSpan.Zero, window.Look(time.GetTimestamp(), out gap));
        Assert.Equal(TimeSpan.FromSeconds(15), gap);
    }

    [Fact]
    public async Task A_deposed_leader_condemns_nobody()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var leadership = await plane.CampaignAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        await leadership.DisposeAsync();
        plane.Time.Advance(TimeSpan.FromHours(1));

        await plane.Health.LookAsync(new(leadership.Guard), plane.State.View, TimeSpan.FromHours(1), plane.Time.GetTimestamp(), Token);

        Assert.Equal(NodeLiveness.Ready, (await plane.ViewAsync(Token)).Node(node)!.Liveness);
    }
}
