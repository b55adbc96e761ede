using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: whatever an instance is in the middle of is in the store, so that the next leader ends what the last one began, and begins nothing twice.</summary>
public sealed class LeaderChangeTests : EvictionScene
{
    /// <summary>How far it had come when the leader changed.</summary>
    public enum Moment
    {
        Told,
        Stopped,
        Gone,
    }

    [Theory]
    [InlineData(Moment.Told)]
    [InlineData(Moment.Stopped)]
    [InlineData(Moment.Gone)]
    public async Task One_that_leaves_a_drained_node_leaves_it_once_and_goes_on_elsewhere(Moment moment)
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var moving = await AskAsync("moving", 0);
        await PassAsync();
        await ReportAsync(node, moving, InstanceState.Running);
        var other = await Plane.ReadyNodeAsync("b", Token, memoryBytes: 100 << 20);
        await SetAsync(node, spec => spec.Scheduling = NodeScheduling.Draining);
        await Plane.Evacuations.ReconcileAsync(Term, Token);
        await Plane.ViewAsync(Token);
        var told = View.Instance(moving)!;
        Assert.Equal(Evictions.Drained, told.Eviction!.Reason);

        await At(Moment.Told);
        Assert.Equal(told.PlacementRevision, View.Instance(moving)!.PlacementRevision);
        await ReportAsync(node, moving, InstanceState.Stopped);
        await At(Moment.Stopped);
        Assert.Equal(told.Epoch.Value, Event(node, moving)!.Remove.Epoch);
        await RemovedAsync(node, moving);
        await At(Moment.Gone);
        await PassAsync();

        var moved = View.Instance(moving)!;
        Assert.Equal((other, null), (moved.NodeId, moved.Eviction));
        Assert.True(moved.Epoch > told.Epoch);
        Assert.Equal((0, 64 << 20), (View.Node(node)!.Allocated.MemoryBytes, View.Node(other)!.Allocated.MemoryBytes));

        async Task At(Moment now)
        {
            if (now == moment)
            {
                await ChangeLeaderAsync();
                await Plane.Evacuations.ReconcileAsync(Term, Token);
                await PassAsync();
            }
        }
    }

    /// <summary>How far the rest had come when the leader changed.</summary>
    public enum Rest
    {
        Told,
        Reported,
        Parked,
        RoomAgain,
    }

    [Theory]
    [InlineData(Rest.Told)]
    [InlineData(Rest.Reported)]
    [InlineData(Rest.Parked)]
    [InlineData(Rest.RoomAgain)]
    public async Task One_that_rests_in_place_gives_its_room_once_and_goes_on_there_under_its_epoch(Rest moment)
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var local = await Plane.PendingAsync("local", Token, disk: DiskKind.Local);
        await PassAsync();
        var before = View.Instance(local)!;
        await ReportAsync(node, local, InstanceState.Running);
        var high = await AskAsync("high", 10);
        await PassAsync();
        var told = View.Instance(local)!;
        Assert.True(told.Eviction is { InPlace: true, Parked: false });

        await At(Rest.Told);
        Assert.Equal(told.PlacementRevision, View.Instance(local)!.PlacementRevision);
        Assert.Null(View.Instance(high)!.NodeId);
        await ReportAsync(node, local, InstanceState.Stopped, told.PlacementRevision);
        await At(Rest.Reported);
        await PassAsync();
        await PassAsync();
        Assert.True(View.Instance(local)!.Eviction!.Parked);
        Assert.Equal(node, View.Instance(high)!.NodeId);

        await At(Rest.Parked);
        Assert.True(View.Instance(local)!.Eviction!.Parked, "there is no room yet");
        Assert.Equal(DesiredState.Stopped, Event(node, local)!.Put.Spec.DesiredState);
        await Plane.DeleteAsync(high, Token);
        await RemovedAsync(node, high);
        await At(Rest.RoomAgain);
        await PassAsync();

        var back = View.Instance(local)!;
        Assert.Equal((node, before.Epoch, null), (back.NodeId, back.Epoch, back.Eviction));
        Assert.Equal(before.PlacementRecord!.Reserved, back.PlacementRecord!.Reserved);
        Assert.Equal((before.Spec.DesiredState, 0), (Event(node, local)!.Put.Spec.DesiredState, Event(node, local)!.Put.Parking));
        Assert.Equal(64 << 20, View.Node(node)!.Allocated.MemoryBytes);

        async Task At(Rest now)
        {
            if (now == moment)
            {
                await ChangeLeaderAsync();
                await PassAsync();
            }
        }
    }
}
