using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>
/// Protects: NoGhostKill: an agent is told to remove exactly what the store says is over, by uid and epoch, and nothing else.
/// </summary>
public sealed class AssignmentFeedTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_present_state_comes_first_then_synced_then_each_change()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var first = await plane.PlacedAsync("first", node, Token);
        await plane.PlacedAsync("elsewhere", await plane.ReadyNodeAsync("b", Token), Token);
        await using var stream = new Stream(plane, node);

        var put = await stream.NextAsync();
        Assert.Equal(first.Value, put.Put.Uid);
        Assert.Equal(plane.State.View.Instance(first)!.Epoch.Value, put.Put.Epoch);
        Assert.Equal("busybox", put.Put.Spec.Image);
        Assert.NotNull((await stream.NextAsync()).Synced);

        var second = await plane.PlacedAsync("second", node, Token);
        var change = await stream.NextAsync();
        Assert.Equal(second.Value, change.Put.Uid);
        Assert.Equal(plane.State.View.ResourceVersion.Value, change.ResourceVersion);
    }

    [Fact]
    public async Task A_deletion_gives_exactly_one_removal_and_status_is_not_echoed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var epoch = plane.State.View.Instance(id)!.Epoch;
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.Intake.ReportAsync(node, Running(id, epoch), Token);
        await plane.DeleteAsync(id, Token);
        await plane.Intake.ReportAsync(node, new() { Removed = { new Removal { Uid = id.Value, Epoch = epoch.Value } } }, Token);
        var next = await plane.PlacedAsync("next", node, Token);

        Assert.Equal(new Removal { Uid = id.Value, Epoch = epoch.Value, Type = InstanceType.Container }, (await stream.NextAsync()).Remove);
        Assert.Equal(next.Value, (await stream.NextAsync()).Put.Uid);
    }

    [Fact]
    public async Task A_deletion_slept_through_is_told_in_the_snapshot()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        await plane.DeleteAsync(id, Token);
        await using var stream = new Stream(plane, node);

        Assert.Equal(id.Value, (await stream.NextAsync()).Remove.Uid);
    }

    [Fact]
    public async Task An_instance_that_vanishes_without_a_trace_is_not_removed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.WriteAsync([new StoreOperation.Delete(Keys.Spec("default", "i")), new StoreOperation.Delete(Keys.Placement(id))], Token);
        var next = await plane.PlacedAsync("next", node, Token);

        Assert.Equal(next.Value, (await stream.NextAsync()).Put.Uid);
    }

    [Fact]
    public async Task A_placement_that_moved_elsewhere_is_removed_at_its_old_epoch()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var other = await plane.ReadyNodeAsync("b", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        var old = plane.State.View.Instance(id)!.Epoch;
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.PlaceAsync(id, other, Token);

        Assert.Equal(new Removal { Uid = id.Value, Epoch = old.Value, Type = InstanceType.Container }, (await stream.NextAsync()).Remove);
    }

    [Fact]
    public async Task Of_what_an_agent_reports_as_unclaimed_only_what_is_known_to_be_over_is_removed()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var moved = await plane.PlacedAsync("moved", node, Token);
        var old = plane.State.View.Instance(moved)!.Epoch;
        await plane.PlaceAsync(moved, await plane.ReadyNodeAsync("b", Token), Token);
        await plane.PutAsync(Keys.Tombstone(new("dead")), new TombstoneRecord { Project = "default", Name = "dead", Epoch = 9 }, Token);
        await plane.PutAsync(Keys.Tombstone(new("reborn")), new TombstoneRecord { Project = "default", Name = "reborn", Epoch = 9 }, Token);
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.Intake.ReportAsync(node, new()
        {
            Unclaimed = new()
            {
                Instances =
                {
                    new UnclaimedInstance { Uid = "dead", Epoch = 9, Type = InstanceType.Vm },
                    new UnclaimedInstance { Uid = "reborn", Epoch = 10 },
                    new UnclaimedInstance { Uid = "foreign", Epoch = 1 },
                    new UnclaimedInstance { Uid = moved.Value, Epoch = old.Value },
                },
            },
        }, Token);
        var next = await plane.PlacedAsync("next", node, Token);

        Assert.Equal(new Removal { Uid = "dead", Epoch = 9, Type = InstanceType.Vm }, (await stream.NextAsync()).Remove);
        Assert.Equal(new Removal { Uid = moved.Value, Epoch = old.Value }, (await stream.NextAsync()).Remove);
        Assert.Equal(next.Value, (await stream.NextAsync()).Put.Uid);
    }

    [Fact]
    public async Task A_leftover_without_an_epoch_is_removed_up_to_what_the_store_knows_to_be_over()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var moved = await plane.PlacedAsync("moved", node, Token);
        var newer = await plane.PlaceAsync(moved, await plane.ReadyNodeAsync("b", Token), Token);
        await plane.PutAsync(Keys.Tombstone(new("dead")), new TombstoneRecord { Project = "default", Name = "dead", Epoch = 9 }, Token);
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.Intake.ReportAsync(
            node, new() { Unclaimed = new() { Instances = { new UnclaimedInstance { Uid = "dead" }, new UnclaimedInstance { Uid = moved.Value } } } }, Token);

        Assert.Equal(new Removal { Uid = "dead", Epoch = 9 }, (await stream.NextAsync()).Remove);
        Assert.Equal(new Removal { Uid = moved.Value, Epoch = newer.Value - 1 }, (await stream.NextAsync()).Remove);
    }

    [Fact]
    public async Task A_removal_says_whose_driver_holds_the_instance_also_when_only_its_tombstone_is_left()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var tombstone = new TombstoneRecord { Project = "default", Name = "i", Epoch = 3, Type = InstanceType.Microvm, PendingNodeUids = { node.Value } };
        await using var synced = await Stream.SyncedAsync(plane, node);

        await plane.PutAsync(Keys.Tombstone(new("dead")), tombstone, Token);
        await using var later = new Stream(plane, node);

        var expected = new Removal { Uid = "dead", Epoch = 3, Type = InstanceType.Microvm };
        Assert.Equal(expected, (await synced.NextAsync()).Remove);
        Assert.Equal(expected, (await later.NextAsync()).Remove);
    }

    [Fact]
    public async Task A_deregistered_node_is_cut_off()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        await using var stream = await Stream.SyncedAsync(plane, node);

        await plane.Registry.DeregisterAsync("a", fenced: false, Token);

        var error = await Assert.ThrowsAsync<RpcException>(stream.NextAsync);
        Assert.Equal(StatusCode.Unauthenticated, error.StatusCode);
    }

    private static ReportStatusRequest Running(InstanceId id, Epoch epoch) => new()
    {
        Reports = { new StatusReport { Uid = id.Value, Epoch = epoch.Value, Status = new() { State = InstanceState.Running } } },
    };

    private sealed class Stream(ControlPlane plane, NodeId node) : IAsyncDisposable
    {
        private readonly IAsyncEnumerator<AssignmentEvent> _events =
            plane.Feed.WatchAsync(node, ResourceVersion.None, Token).GetAsyncEnumerator(Token);

        public static async Task<Stream> SyncedAsync(ControlPlane plane, NodeId node)
        {
            var stream = new Stream(plane, node);
            while ((await stream.NextAsync()).Synced is null)
            {
            }

            return stream;
        }

        public async Task<AssignmentEvent> NextAsync()
        {
            Assert.True(await _events.MoveNextAsync());
            return _events.Current;
        }

        public ValueTask DisposeAsync() => _events.DisposeAsync();
    }
}
