using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: who made room in place goes on, whatever stands in the way, and of those who need room at the same time the right one gets it.</summary>
public sealed class ContentionTests : EvictionScene
{
    /// <summary>Protects: to make room is not to end. What had ended by itself before stays as it was.</summary>
    [Theory]
    [InlineData(InstanceState.Running, 1)]
    [InlineData(InstanceState.Starting, 1)]
    [InlineData(InstanceState.Stopped, 0)]
    [InlineData(InstanceState.Failed, 0)]
    public async Task One_that_was_stopped_in_place_is_started_again_whatever_its_restart_policy(InstanceState before, long restarts)
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var local = await LocalAsync(node, before);
        var high = await ParkAsync(node, local);

        await Plane.DeleteAsync(high, Token);
        await RemovedAsync(node, high);
        await PassAsync();

        var back = View.Instance(local)!;
        Assert.Equal((node, null), (back.NodeId, back.Eviction));
        Assert.Equal((restarts, 1 + restarts), (back.Spec.RestartGeneration, back.Metadata.Generation));
    }

    /// <summary>Protects: it is on its node already. Its own stay there does not keep it away, and neither does what was said of the node meanwhile.</summary>
    [Fact]
    public async Task One_that_keeps_its_like_away_goes_on_where_it_made_room_also_on_a_node_that_takes_nobody_any_more()
    {
        // A leadership that time does not end.
        Term = new(Compare.Absent("nothing"));
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var local = await LocalAsync(node, InstanceState.Running, apart: true);
        var high = await ParkAsync(node, local);
        await SetAsync(node, spec =>
        {
            spec.Scheduling = NodeScheduling.Cordoned;
            spec.Taints.Add(new Taint { Key = "broken", Effect = TaintEffect.NoSchedule });
        });

        await Plane.DeleteAsync(high, Token);
        await RemovedAsync(node, high);
        Plane.Time.Advance(Limits.Control.ReconcilePeriod);
        await PassAsync();

        Assert.Null(View.Instance(local)!.Eviction);
    }

    /// <summary>Protects: one request cannot make a transaction that the store does not take, which would end the leader's term again and again.</summary>
    [Theory]
    [InlineData(Limits.Control.Victims, true)]
    [InlineData(Limits.Control.Victims + 1, false)]
    public async Task Only_as_many_make_room_as_can_be_told_at_once(int count, bool told)
    {
        await Plane.ReadyNodeAsync("a", Token, memoryBytes: (long)count << 20);
        foreach (var number in Enumerable.Range(0, count))
        {
            await Plane.PendingAsync($"low-{number}", Token, memoryBytes: 1 << 20, change: record => record.Spec.Resources.CpuMillicores = 10);
        }

        await PassAsync();
        var high = await Plane.PendingAsync(
            "high", Token, memoryBytes: (long)count << 20, change: record => record.Spec.Constraints = new() { Priority = 10 });
        await PassAsync();

        Assert.Equal(told ? count : 0, View.Instances.Count(instance => instance.IsEvicted));
        Assert.Equal(told ? PlacementController.Preempting : "InsufficientResources", View.Instance(high)!.PlacementRecord!.Placement.Reason);
    }

    /// <summary>Protects: who is more important does not wait for those who make room for a lesser one.</summary>
    [Theory]
    [InlineData("lesser")]
    [InlineData("greater")]
    public async Task The_first_room_on_a_node_goes_to_the_highest_priority_that_has_a_claim_there(string first)
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 130 << 20);
        InstanceId[] low = [await AskAsync("low-1", 0), await AskAsync("low-2", 0)];
        await PassAsync();
        var lesser = await AskAsync("lesser", 10);
        await PassAsync();
        var greater = await AskAsync("greater", 1000);
        await PassAsync();
        var leaves = low.Single(id => View.Instance(id)!.Eviction!.ForUid == (first == "lesser" ? lesser : greater).Value);

        await LeavesAsync(node, leaves);
        Assert.Equal((node, null), (View.Instance(greater)!.NodeId, View.Instance(lesser)!.NodeId));

        var other = low.Single(id => id != leaves);
        await LeavesAsync(node, other);
        Assert.Equal(node, View.Instance(lesser)!.NodeId);
        Assert.Empty(Term.Fleet.Ledger.Claims);
    }

    /// <summary>Protects: who could have others make room now is decided about in time, also when nothing that happened tells so.</summary>
    [Fact]
    public async Task One_that_sleeps_is_looked_at_again_after_some_time()
    {
        // A leadership that time does not end.
        Term = new(Compare.Absent("nothing"));
        await Plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var equal = await AskAsync("equal", 10);
        await PassAsync();
        var waits = await AskAsync("waits", 10);
        await PassAsync();
        var lowered = View.Instance(equal)!.SpecRecord;
        lowered.Spec.Constraints.Priority = 0;
        await Plane.PutAsync(Keys.Spec("default", "equal"), lowered, Token);
        await PassAsync();
        Assert.Null(View.Instance(equal)!.Eviction);

        Plane.Time.Advance(Limits.Control.ReconcilePeriod);
        await PassAsync();

        Assert.Equal(waits.Value, View.Instance(equal)!.Eviction!.ForUid);
    }

    /// <summary>Protects: who was told to leave since there was a place for it has that place, whoever leads when it has left.</summary>
    [Fact]
    public async Task A_new_leader_keeps_a_place_for_those_who_are_leaving_a_drained_node()
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var moving = await AskAsync("moving", 0);
        await PassAsync();
        var other = await Plane.ReadyNodeAsync("b", Token, memoryBytes: 100 << 20);
        await SetAsync(node, spec => spec.Scheduling = NodeScheduling.Draining);
        await Plane.Evacuations.ReconcileAsync(Term, Token);
        Assert.True(View.Instance(moving)!.IsEvicted);

        await ChangeLeaderAsync();
        await Plane.Evacuations.ReconcileAsync(Term, Token);
        var meanwhile = await AskAsync("meanwhile", 0);
        await PassAsync();
        Assert.Null(View.Instance(meanwhile)!.NodeId);

        await LeavesAsync(node, moving);
        Assert.Equal(other, View.Instance(moving)!.NodeId);
    }

    /// <summary>Protects: what rests on a node is not on its way from it, and stops no drain.</summary>
    [Fact]
    public async Task Those_who_made_room_in_place_do_not_stop_a_drain()
    {
        var node = await Plane.ReadyNodeAsync("a", Token, memoryBytes: 64L * Limits.Control.EvictionsPerNode << 20);
        var parked = new List<InstanceId>();
        foreach (var number in Enumerable.Range(0, Limits.Control.EvictionsPerNode))
        {
            parked.Add(await Plane.PendingAsync($"local-{number}", Token, disk: DiskKind.Local));
        }

        await PassAsync();
        var high = await Plane.PendingAsync(
            "high", Token, memoryBytes: 64L * Limits.Control.EvictionsPerNode << 20, change: record => record.Spec.Constraints = new() { Priority = 10 });
        await PassAsync();
        foreach (var local in parked)
        {
            await ReportAsync(node, local, InstanceState.Stopped, View.Instance(local)!.PlacementRevision);
        }

        await PassAsync();
        await PassAsync();
        Assert.Equal(node, View.Instance(high)!.NodeId);
        await Plane.ReadyNodeAsync("b", Token);
        await SetAsync(node, spec => spec.Scheduling = NodeScheduling.Draining);
        await Plane.Evacuations.ReconcileAsync(Term, Token);

        Assert.True(View.Instance(high)!.IsEvicted);
    }

    private async Task<InstanceId> LocalAsync(NodeId node, InstanceState state, bool apart = false)
    {
        var local = await Plane.PendingAsync("local", Token, disk: DiskKind.Local, change: record =>
        {
            record.Metadata.Labels["app"] = "db";
            record.Spec.Constraints = new();
            record.Spec.DesiredState = DesiredState.Running;
            if (apart)
            {
                record.Spec.Constraints.AntiAffinity.Add(new AffinityTerm { Selector = "app=db" });
            }
        });
        await PassAsync();
        await ReportAsync(node, local, state);
        return local;
    }

    /// <returns>Who has its room then.</returns>
    private async Task<InstanceId> ParkAsync(NodeId node, InstanceId local)
    {
        var high = await AskAsync("high", 10);
        await PassAsync();
        await ReportAsync(node, local, InstanceState.Stopped, View.Instance(local)!.PlacementRevision);
        await PassAsync();
        await PassAsync();
        Assert.Equal((true, node), (View.Instance(local)!.Eviction!.Parked, View.Instance(high)!.NodeId));
        return high;
    }
}
