using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>
/// Protects: an instance that has to leave a node is stopped, removed and placed anew, in this order, and what it holds there is nobody else's before
/// its node has said that nothing is left; a place that others make room for goes to whom they made it for.
/// </summary>
public sealed class EvictionTests : EvictionScene
{
    [Fact]
    public async Task A_higher_priority_gets_the_room_of_a_lower_one_once_that_is_gone()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var low = await AskAsync("low", 0);
        await PassAsync();
        Assert.Equal(node, View.Instance(low)!.NodeId);
        await ReportAsync(node, low, InstanceState.Running);
        var high = await AskAsync("high", 10);
        await PassAsync();

        // Told to stop, and nothing else yet.
        Assert.Equal((Evictions.Preempted, high.Value), (View.Instance(low)!.Eviction!.Reason, View.Instance(low)!.Eviction!.ForUid));
        Assert.Equal(PlacementController.Preempting, View.Instance(high)!.PlacementRecord!.Placement.Reason);
        Assert.Equal(DesiredState.Stopped, Event(node, low)!.Put.Spec.DesiredState);
        await PassAsync();
        Assert.Null(View.Instance(high)!.NodeId);

        // Stopped is not gone: it holds its room until its node has nothing left of it.
        await ReportAsync(node, low, InstanceState.Stopped);
        Assert.Equal(View.Instance(low)!.Epoch.Value, Event(node, low)!.Remove.Epoch);
        await PassAsync();
        Assert.Null(View.Instance(high)!.NodeId);

        await RemovedAsync(node, low);
        await PassAsync();
        Assert.Equal(node, View.Instance(high)!.NodeId);
        Assert.Null(View.Instance(low)!.NodeId);

        // It waits like a new one, and comes back under a later epoch.
        var other = await Plane.ReadyNodeAsync("b", Token);
        var before = View.Instance(low)!.Epoch;
        await PassAsync();
        Assert.Equal(other, View.Instance(low)!.NodeId);
        Assert.True(View.Instance(low)!.Epoch > before);
    }

    [Fact]
    public async Task Who_has_the_device_leaves_for_it_and_keeps_it_until_gone()
    {
        await Plane.ReadyNodeAsync("a", Token);
        var node = await Plane.ReadyNodeAsync("b", Token, gpus: 2);
        var low = await AskAsync("low", 0, gpus: 2);
        var large = await AskAsync("large", 0, constraints => constraints.PreferredNode = "b");
        await PassAsync();
        Assert.All([low, large], id => Assert.Equal(node, View.Instance(id)!.NodeId));
        Assert.Equal(2, View.Node(node)!.Allocated.Devices["gpu"]);

        var high = await AskAsync("high", 10, gpus: 1);
        await PassAsync();
        Assert.Equal((high.Value, null), (View.Instance(low)!.Eviction?.ForUid, View.Instance(large)!.Eviction));
        Assert.Null(View.Instance(high)!.NodeId);

        await LeavesAsync(node, low);
        Assert.Equal(node, View.Instance(high)!.NodeId);
        Assert.Equal((1, null), (View.Node(node)!.Allocated.Devices["gpu"], View.Instance(low)!.NodeId));
    }

    [Fact]
    public async Task Nobody_makes_room_for_an_equal()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 200 << 20);
        var local = await Plane.PendingAsync("local", Token, disk: DiskKind.Local, change: record => record.Spec.Constraints = new() { Priority = 10 });
        var equal = await AskAsync("equal", 10);
        var third = await AskAsync("third", 10);
        await PassAsync();
        Assert.All([local, equal, third], id => Assert.Equal(node, View.Instance(id)!.NodeId));

        var waits = await AskAsync("waits", 10);
        await PassAsync();

        Assert.All([local, equal, third], id => Assert.Null(View.Instance(id)!.Eviction));
        Assert.Equal("InsufficientResources", View.Instance(waits)!.PlacementRecord!.Placement.Reason);
    }

    /// <summary>Protects: a disk never leaves its node, who rests there holds nothing else, and goes on as what it was.</summary>
    [Fact]
    public async Task One_whose_disk_is_there_makes_room_in_place_and_goes_on_when_there_is_room_again()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var local = await Plane.PendingAsync("local", Token, disk: DiskKind.Local, change: record =>
        {
            record.Spec.Type = InstanceType.Container;
            record.Spec.Disks[0].SizeBytes = 1 << 20;
        });
        await PassAsync();
        var before = View.Instance(local)!;
        await ReportAsync(node, local, InstanceState.Running);
        var high = await AskAsync("high", 10);
        await PassAsync();

        var told = View.Instance(local)!;
        Assert.True(told.Eviction is { InPlace: true, Suspends: false, Parked: false });
        var put = Event(node, local)!.Put;
        Assert.Equal((DesiredState.Stopped, told.PlacementRevision), (put.Spec.DesiredState, put.Parking));

        // A rest that this decision did not bring about may be over at any moment.
        await ReportAsync(node, local, InstanceState.Stopped);
        await PassAsync();
        Assert.Null(View.Instance(high)!.NodeId);

        await ReportAsync(node, local, InstanceState.Stopped, told.PlacementRevision);
        Assert.NotNull(Event(node, local)!.Put);
        await PassAsync();
        await PassAsync();
        Assert.Equal(node, View.Instance(high)!.NodeId);
        var parked = View.Instance(local)!;
        Assert.Equal((node, before.Epoch, true), (parked.NodeId, parked.Epoch, parked.Eviction!.Parked));
        Assert.Equal(new Resources { DiskBytes = 1 << 20 }, parked.PlacementRecord!.Reserved);
        Assert.Equal((InstanceState.Stopped, Evictions.Preempted), (Hypervisor.Server.State.InstanceView.StateOf(parked), Hypervisor.Server.State.InstanceView.Judge(parked).Reason));
        Assert.True(parked.PlacementRecord.Receipt.Length > 0);

        await Plane.DeleteAsync(high, Token);
        await RemovedAsync(node, high);
        await PassAsync();
        var back = View.Instance(local)!;
        Assert.Equal((node, before.Epoch, null), (back.NodeId, back.Epoch, back.Eviction));
        Assert.Equal(before.PlacementRecord!.Reserved, back.PlacementRecord!.Reserved);
        Assert.Equal((before.Spec.DesiredState, 0), (Event(node, local)!.Put.Spec.DesiredState, Event(node, local)!.Put.Parking));
    }

    [Fact]
    public async Task A_guest_is_suspended_in_place_and_stopped_if_that_takes_too_long()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var guest = await Plane.PendingAsync("guest", Token, disk: DiskKind.Local);
        await PassAsync();
        var record = View.Instance(guest)!.SpecRecord.Clone();
        record.Spec.Type = InstanceType.Vm;
        await Plane.PutAsync(Keys.Spec("default", "guest"), record, Token);
        await ReportAsync(node, guest, InstanceState.Running);
        await AskAsync("high", 10);
        await PassAsync();
        Assert.Equal(DesiredState.Suspended, Event(node, guest)!.Put.Spec.DesiredState);

        // Longer than a leader lasts that does not renew its lease, as this one does not.
        Plane.Time.Advance(Limits.Control.SuspendPatience + TimeSpan.FromSeconds(1));
        await ChangeLeaderAsync();
        await PassAsync();

        var late = View.Instance(guest)!;
        Assert.Equal((DesiredState.Stopped, late.PlacementRevision), (Event(node, guest)!.Put.Spec.DesiredState, Event(node, guest)!.Put.Parking));
    }

    /// <summary>Protects: the look at nodes ends early only where no other can have anything better.</summary>
    [Fact]
    public async Task Of_all_nodes_the_one_makes_room_where_fewest_of_the_lowest_priority_stop_soonest()
    {
        (int Count, int Priority, int Grace)[] nodes = [(2, -5, 5), (1, -1, 1), (1, -5, 30), (1, -5, 5), (1, -4, 1), (2, -5, 1)];
        var expected = "";
        foreach (var (number, (count, priority, grace)) in nodes.Index())
        {
            await Plane.ReadyNodeAsync($"n{number}", Token, memoryBytes: 128 << 20);
            foreach (var each in Enumerable.Range(0, count))
            {
                var id = await Plane.PendingAsync($"i{number}-{each}", Token, memoryBytes: (128 / count) << 20, change: record =>
                {
                    record.Spec.Constraints = new() { Priority = priority, PreferredNode = $"n{number}" };
                    record.Spec.Stop = new() { GracePeriod = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromSeconds(grace)) };
                });
                await PassAsync();
                expected = number == 3 ? id.Value : expected;
            }
        }

        await Plane.PendingAsync("high", Token, memoryBytes: 128 << 20, change: record => record.Spec.Constraints = new() { Priority = 10 });
        await PassAsync();

        Assert.Equal([expected], View.Instances.Where(instance => instance.Eviction is not null).Select(instance => instance.Id.Value));
    }

    [Fact]
    public async Task Two_that_need_room_never_wait_for_the_same_hole()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 130 << 20);
        InstanceId[] low = [await AskAsync("low-1", 0), await AskAsync("low-2", 0)];
        await PassAsync();
        InstanceId[] high = [await AskAsync("high-1", 10), await AskAsync("high-2", 10), await AskAsync("high-3", 10)];
        await PassAsync();

        Assert.Equal(high[..2].Select(id => id.Value), low.Select(id => View.Instance(id)!.Eviction!.ForUid).Order(StringComparer.Ordinal));
        Assert.Equal("InsufficientResources", View.Instance(high[2])!.PlacementRecord!.Placement.Reason);
        foreach (var id in low)
        {
            await ReportAsync(node, id, InstanceState.Stopped);
            await RemovedAsync(node, id);
        }

        await PassAsync();
        Assert.All(high[..2], id => Assert.Equal(node, View.Instance(id)!.NodeId));
        Assert.Null(View.Instance(high[2])!.NodeId);
        Assert.Equal(128 << 20, View.Node(node)!.Allocated.MemoryBytes);
    }

    [Fact]
    public async Task A_new_leader_has_nobody_else_leave_for_what_is_being_made_room_for_already()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 130 << 20);
        InstanceId[] low = [await AskAsync("low-1", 0), await AskAsync("low-2", 0)];
        await PassAsync();
        var high = await AskAsync("high", 10);
        await PassAsync();
        var leaving = low.Single(id => View.Instance(id)!.Eviction is not null);

        await ChangeLeaderAsync();
        await PassAsync();

        Assert.Equal(leaving, low.Single(id => View.Instance(id)!.Eviction is not null));
        await LeavesAsync(node, leaving);
        Assert.Equal(node, View.Instance(high)!.NodeId);
    }

    [Fact]
    public async Task A_place_that_does_not_become_free_is_given_up_in_time_and_one_whose_instance_goes_at_once()
    {
        await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        await AskAsync("low", 0);
        await PassAsync();
        var high = await AskAsync("high", 10);
        await PassAsync();
        Assert.Single(Term.Fleet.Ledger.Claims);
        var first = Term.Fleet.Ledger.ClaimOf(high);

        Plane.Time.Advance(Limits.Control.ClaimPatience + TimeSpan.FromMinutes(1));
        await PassAsync();
        Assert.NotSame(first, Term.Fleet.Ledger.ClaimOf(high));

        await Plane.DeleteAsync(high, Token);
        await PassAsync();
        await Plane.ViewAsync(Token);
        await PassAsync();
        Assert.Empty(Term.Fleet.Ledger.Claims);
    }

    [Fact]
    public async Task A_drained_node_gives_its_instances_to_others_that_have_room_and_keeps_the_rest()
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        InstanceId[] moving = [await AskAsync("one", 0), await AskAsync("two", 0)];
        var local = await Plane.PendingAsync("local", Token, disk: DiskKind.Local);
        await PassAsync();
        var other = await Plane.ReadyNodeAsync("b", Token, memoryBytes: 100 << 20);
        await SetAsync(node, spec => spec.Scheduling = NodeScheduling.Draining);

        Assert.Equal(PassOutcome.Waiting, await Plane.Evacuations.ReconcileAsync(Term, Token));
        var left = moving.Single(id => View.Instance(id)!.Eviction is { Reason: Evictions.Drained });

        // The place is its own before it has left: who comes meanwhile does not get it.
        var meanwhile = await AskAsync("meanwhile", 0);
        await PassAsync();
        Assert.Null(View.Instance(meanwhile)!.NodeId);

        await LeavesAsync(node, left);
        Assert.Equal(other, View.Instance(left)!.NodeId);
        Assert.Null(View.Instance(local)!.Eviction);
        Assert.Null(View.Instance(moving.Single(id => id != left))!.Eviction);
    }

    [Fact]
    public async Task A_taint_makes_those_leave_that_do_not_tolerate_it_wherever_they_go()
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var tolerant = await AskAsync("tolerant", 0, constraints => constraints.Tolerations.Add(new Toleration { Key = "broken" }));
        var other = await AskAsync("other", 0);
        await PassAsync();
        await SetAsync(node, spec => spec.Taints.Add(new Taint { Key = "broken", Effect = TaintEffect.NoExecute }));

        await Plane.Evacuations.ReconcileAsync(Term, Token);

        Assert.Null(View.Instance(tolerant)!.Eviction);
        Assert.Equal(Evictions.TaintNotTolerated, View.Instance(other)!.Eviction!.Reason);
        Assert.Contains("broken:no-execute", View.Instance(other)!.Eviction!.Message, StringComparison.Ordinal);
        await LeavesAsync(node, other);
        Assert.Equal("NoFittingNode", View.Instance(other)!.PlacementRecord!.Placement.Reason);
    }

    [Fact]
    public async Task No_more_than_some_leave_a_node_at_the_same_time()
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var all = new List<InstanceId>();
        foreach (var number in Enumerable.Range(0, Limits.Control.EvictionsPerNode + 3))
        {
            all.Add(await AskAsync($"i{number}", 0));
        }

        await PassAsync();
        await Plane.ReadyNodeAsync("b", Token);
        await SetAsync(node, spec => spec.Scheduling = NodeScheduling.Draining);

        await Plane.Evacuations.ReconcileAsync(Term, Token);
        await Plane.Evacuations.ReconcileAsync(Term, Token);

        Assert.Equal(Limits.Control.EvictionsPerNode, all.Count(id => View.Instance(id)!.Eviction is not null));
    }

    [Fact]
    public async Task What_is_deleted_while_it_leaves_is_deleted()
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var id = await AskAsync("i", 0);
        await PassAsync();
        await SetAsync(node, spec => spec.Taints.Add(new Taint { Key = "broken", Effect = TaintEffect.NoExecute }));
        await Plane.Evacuations.ReconcileAsync(Term, Token);
        await Plane.DeleteAsync(id, Token);

        await RemovedAsync(node, id);

        Assert.Null((await Plane.ViewAsync(Token)).Instance(id));
        Assert.NotNull(View.Tombstone(id));
    }
}
