using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Nodes;

/// <summary>Protects: NoGhostKill: only the node that was named is told to destroy its copy, and only what the control plane does not know.</summary>
public sealed class InstancePurgeTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_named_node_is_told_once_up_to_the_epoch_it_reported_and_no_other()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var other = await world.Plane.ReadyNodeAsync("n2", Token);
        var copy = UnclaimedWorld.Copy();
        await world.ReportAsync(copy);
        await world.ReportAsync(other, copy);

        await world.PurgeAsync();

        var removal = new Removal { Uid = copy.Uid, Epoch = copy.Epoch, Type = InstanceType.Container };
        Assert.Equal([removal], await ToldAsync(world, world.Node));
        Assert.Empty(await ToldAsync(world, other));

        await world.Plane.Intake.ReportAsync(world.Node, new() { Removed = { removal } }, Token);
        Assert.Empty(await ToldAsync(world, world.Node));
    }

    [Fact]
    public async Task A_node_that_listens_hears_of_it_at_once()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        await world.ReportAsync(UnclaimedWorld.Copy());
        await using var events = world.Plane.Feed.WatchAsync(world.Node, ResourceVersion.None, Token).GetAsyncEnumerator(Token);
        do
        {
            Assert.True(await events.MoveNextAsync());
        }
        while (events.Current.Synced is null);

        await world.PurgeAsync();

        Assert.True(await events.MoveNextAsync());
        Assert.Equal(UnclaimedWorld.Copy().Uid, events.Current.Remove.Uid);
    }

    [Fact]
    public async Task Half_made_leftovers_have_no_epoch_and_go_nevertheless()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var copy = new UnclaimedInstance { Uid = UnclaimedWorld.Copy().Uid };
        await world.ReportAsync(copy);

        await world.PurgeAsync(copy.Uid);

        Assert.Equal(1, Assert.Single(await ToldAsync(world, world.Node)).Epoch);
    }

    [Fact]
    public async Task What_the_control_plane_knows_is_refused()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        await world.ReportAsync(UnclaimedWorld.Copy());
        await world.AdoptAsync();

        Assert.Equal("INSTANCE_KNOWN", await UnclaimedWorld.ReasonAsync(() => world.PurgeAsync()));
        Assert.Empty(await ToldAsync(world, world.Node));
    }

    [Fact]
    public async Task What_the_node_does_not_list_is_refused()
    {
        await using var world = await UnclaimedWorld.StartAsync();

        Assert.Equal("NotFound", await UnclaimedWorld.ReasonAsync(() => world.PurgeAsync()));
    }

    [Fact]
    public async Task A_repeated_request_is_one_also_after_the_node_has_done_it()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var copy = UnclaimedWorld.Copy();
        await world.ReportAsync(copy);
        await world.PurgeAsync(requestId: "r1");
        await world.Plane.Intake.ReportAsync(
            world.Node, new() { Removed = { new Removal { Uid = copy.Uid, Epoch = copy.Epoch } }, Unclaimed = new() }, Token);
        var revision = await world.Plane.Store.GetRevisionAsync(Token);

        Assert.Equal(copy.Uid, (await world.PurgeAsync(requestId: "r1")).Instance.Uid);

        Assert.Equal(revision, await world.Plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task The_tombstone_of_an_older_epoch_keeps_what_it_says_of_other_nodes()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var other = await world.Plane.ReadyNodeAsync("n2", Token);
        var copy = UnclaimedWorld.Copy();
        await world.Plane.PutAsync(
            Keys.Tombstone(new(copy.Uid)), new TombstoneRecord { Project = "default", Name = "web", Epoch = 3, PendingNodeUids = { other.Value } }, Token);
        await world.ReportAsync(copy);

        await world.PurgeAsync();

        Assert.Equal(copy.Epoch, Assert.Single(await ToldAsync(world, world.Node)).Epoch);
        Assert.Equal(3, Assert.Single(await ToldAsync(world, other)).Epoch);
    }

    [Fact]
    public async Task It_is_not_forgotten_while_the_node_is_away()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        await world.ReportAsync(UnclaimedWorld.Copy());
        await world.PurgeAsync();
        world.Plane.Time.Advance(TimeSpan.FromDays(30));

        Assert.Equal(0, await world.Plane.Tombstones.CollectAsync(world.Current.Value!, Token));
        Assert.Single(await ToldAsync(world, world.Node));
    }

    /// <summary>The removals in a node's snapshot.</summary>
    private static async Task<List<Removal>> ToldAsync(UnclaimedWorld world, NodeId node)
    {
        var removals = new List<Removal>();
        await foreach (var @event in world.Plane.Feed.WatchAsync(node, ResourceVersion.None, Token))
        {
            if (@event.Synced is not null)
            {
                break;
            }

            if (@event.Remove is not null)
            {
                removals.Add(@event.Remove);
            }
        }

        return removals;
    }
}
