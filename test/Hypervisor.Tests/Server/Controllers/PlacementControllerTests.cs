using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>
/// Protects: every instance that can be placed is, once, within capacity (CapacitySafe) and by the leader only
/// (StaleLeaderInert).
/// </summary>
public sealed class PlacementControllerTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_pending_instance_goes_to_a_ready_node_with_a_receipt()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PendingAsync("i", Token);

        Assert.Equal(PassOutcome.Done, await plane.Placements.ReconcileAsync(new(leadership.Guard), Token));

        var instance = (await plane.ViewAsync(Token)).Instance(id)!;
        Assert.Equal(node, instance.NodeId);
        Assert.Equal(Epoch.After(Epoch.None, Incarnation.First), instance.Epoch);
        Assert.Equal(64 << 20, instance.PlacementRecord!.Reserved.MemoryBytes);
        var receipt = CompactReceipt.Parser.ParseFrom(instance.PlacementRecord.Receipt);
        Assert.Empty((await plane.Store.RangeAsync(RangeQuery.Single(Keys.Receipt(id)), Token)).Items);
        Assert.Equal((1, "a"), (receipt.Nodes, receipt.Best.Single().Node));
        Assert.True(receipt.CalculateSize() <= Receipts.MaxBytes);
    }

    [Fact]
    public async Task What_fits_nowhere_says_why_once_and_is_placed_when_room_comes()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var term = new LeaderTerm(leadership.Guard);
        await plane.ReadyNodeAsync("small", Token, memoryBytes: 1 << 20);
        var id = await plane.PendingAsync("i", Token);

        Assert.Equal(PassOutcome.Waiting, await plane.Placements.ReconcileAsync(term, Token));
        var placement = (await plane.ViewAsync(Token)).Instance(id)!.PlacementRecord!.Placement;
        Assert.Equal("InsufficientResources", placement.Reason);
        Assert.Equal("1 node: 1 has 1 MiB of memory free of the 64 MiB asked for", placement.Message);
        var before = await plane.Store.GetRevisionAsync(Token);
        await plane.Placements.ReconcileAsync(term, Token);
        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));

        var large = await plane.ReadyNodeAsync("large", Token);
        await plane.Placements.ReconcileAsync(term, Token);
        Assert.Equal(large, (await plane.ViewAsync(Token)).Instance(id)!.NodeId);
    }

    [Fact]
    public async Task What_waits_for_a_neighbour_follows_it_at_once()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var term = new LeaderTerm(leadership.Guard);
        await plane.ReadyNodeAsync("a", Token);
        await plane.ReadyNodeAsync("b", Token);
        var follower = await plane.PendingAsync(
            "follower", Token, change: record => record.Spec.Constraints = new() { Affinity = { new AffinityTerm { Selector = "app=db" } } });
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = plane.Placements.RunAsync(term, stop.Token);
        await UntilAsync(plane, view => view.Instance(follower)!.PlacementRecord?.Placement.Reason == "NoFittingNode");

        // A node that merely got fuller is nothing to others; the period of 30 s would do in the end.
        var leader = await plane.PendingAsync("leader", Token, change: record => record.Metadata.Labels["app"] = "db");
        await UntilAsync(plane, view => view.Instance(leader)!.NodeId is not null);
        await UntilAsync(plane, view => view.Instance(follower)!.NodeId is not null);

        var view = await plane.ViewAsync(Token);
        Assert.Equal(view.Instance(leader)!.NodeId, view.Instance(follower)!.NodeId);
        await stop.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Protects: room that an instance gives up while it stays is given at once to those that wait, as that of one that goes is.</summary>
    [Fact]
    public async Task What_waits_for_room_gets_it_when_another_instance_is_made_smaller()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var large = await plane.PlacedAsync("large", node, Token);
        var waiting = await plane.PendingAsync("waiting", Token);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = plane.Placements.RunAsync(new(leadership.Guard), stop.Token);
        await UntilAsync(plane, view => view.Instance(waiting)!.PlacementRecord?.Placement.Reason == "InsufficientResources");

        // The refusal is a change as well: until that was looked at, too, and found to be none.
        var settled = plane.Time.GetUtcNow() + (10 * Limits.Control.PendingPause);
        await UntilAsync(plane, _ => plane.Time.GetUtcNow() > settled);

        var entry = (await plane.ViewAsync(Token)).Instance(large)!;
        var (spec, placement) = (entry.SpecRecord.Clone(), entry.PlacementRecord!.Clone());
        spec.Spec.Resources.MemoryBytes = placement.Reserved.MemoryBytes = 32 << 20;
        await plane.WriteAsync(
            [
                new StoreOperation.Put(entry.SpecKey, spec.ToByteArray()),
                new StoreOperation.Put(Keys.Placement(large), placement.ToByteArray()),
            ],
            Token);

        await UntilAsync(plane, view => view.Instance(waiting)!.NodeId == node);
        await stop.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
    }

    [Fact]
    public async Task A_placement_whose_outcome_was_lost_and_that_did_not_happen_is_made_anew()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var term = new LeaderTerm(leadership.Guard);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PendingAsync("i", Token);
        await plane.ViewAsync(Token);

        var first = plane.Placer.PlanNext(term)!;
        first.Plan!.Settle(PlacementOutcome.Unknown, 0);
        Placer.PutBack(term, [first.Item]);
        var second = plane.Placer.PlanNext(term)!;
        Assert.Null(second.Plan);
        Placer.PutBack(term, [second.Item]);

        Assert.Equal(PassOutcome.Done, await plane.Placements.ReconcileAsync(term, Token));
        Assert.Equal(node, (await plane.ViewAsync(Token)).Instance(id)!.NodeId);
    }

    [Fact]
    public async Task Many_pending_at_once_never_exceed_a_node()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token, memoryBytes: 1 << 30);
        for (var i = 0; i < 40; i++)
        {
            await plane.PendingAsync($"i{i:00}", Token);
        }

        await plane.Placements.ReconcileAsync(new(leadership.Guard), Token);

        // 1 GiB holds sixteen of 64 MiB.
        var entry = (await plane.ViewAsync(Token)).Node(node)!;
        Assert.Equal(16, entry.InstanceUids.Count);
        Assert.Equal(1 << 30, entry.Allocated.MemoryBytes);
    }

    [Fact]
    public async Task Creates_in_flight_never_share_the_same_room()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        await plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var first = new FirstPlacement(new CurrentTerm { Value = new(leadership.Guard) }, plane.Placer);
        var spec = new InstanceSpecRecord
        {
            Metadata = new(),
            Spec = new() { Type = InstanceType.Container, Resources = new() { MemoryBytes = 64 << 20 } },
        };

        var one = first.Propose(new("one"), spec, plane.State.View, dryRun: false)!;
        var two = first.Propose(new("two"), spec, plane.State.View, dryRun: false)!;
        Assert.Equal("a", one.Placement.Placement.Node);
        Assert.Equal("", two.Placement.Placement.Node);

        one.Settle(PlacementOutcome.Refused, 0);
        Assert.Equal("a", first.Propose(new("three"), spec, plane.State.View, dryRun: true)!.Placement.Placement.Node);
        Assert.Equal("a", first.Propose(new("four"), spec, plane.State.View, dryRun: false)!.Placement.Placement.Node);
    }

    [Fact]
    public async Task Without_leadership_creates_are_left_to_the_controller()
    {
        await using var plane = await ControlPlane.StartAsync(Token);

        Assert.Null(new FirstPlacement(new CurrentTerm(), plane.Placer).Propose(new("i"), new(), plane.State.View, dryRun: false));
    }

    [Fact]
    public async Task A_new_one_does_not_overtake_those_who_stand_in_line()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var term = new LeaderTerm(leadership.Guard);
        await plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var older = await plane.PendingAsync("older", Token);
        var first = new FirstPlacement(new CurrentTerm { Value = term }, plane.Placer);
        var spec = (await plane.ViewAsync(Token)).Instance(older)!.SpecRecord;

        Assert.Null(first.Propose(new("new"), spec, plane.State.View, dryRun: false));
        Assert.Equal("a", first.Foresee(new("new"), spec, plane.State.View)!.Node);

        await plane.Placements.ReconcileAsync(term, Token);
        await plane.ViewAsync(Token);
        Assert.Equal("", first.Propose(new("new"), spec, plane.State.View, dryRun: false)!.Placement.Placement.Node);
    }

    [Fact]
    public async Task The_highest_priority_gets_the_room_there_is_and_an_impossible_one_holds_back_nobody()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        await plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var impossible = await plane.PendingAsync("impossible", Token, memoryBytes: 1 << 30, change: record => record.Spec.Constraints = new() { Priority = 1000 });
        var old = await plane.PendingAsync("old", Token);
        var urgent = await plane.PendingAsync("urgent", Token, change: record => record.Spec.Constraints = new() { Priority = 1 });

        Assert.Equal(PassOutcome.Waiting, await plane.Placements.ReconcileAsync(new(leadership.Guard), Token));

        var view = await plane.ViewAsync(Token);
        Assert.NotNull(view.Instance(urgent)!.NodeId);
        Assert.All([impossible, old], id => Assert.Equal("InsufficientResources", view.Instance(id)!.PlacementRecord!.Placement.Reason));
    }

    [Fact]
    public async Task A_replica_that_does_not_lead_foresees_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token, memoryBytes: 100 << 20);
        var first = new FirstPlacement(new CurrentTerm(), plane.Placer);
        var asking = new InstanceSpecRecord { Metadata = new() { Project = "default" }, Spec = new() { Type = InstanceType.Container } };

        Assert.False(first.Leads);
        Assert.Null(first.Foresee(new("i"), asking, await plane.ViewAsync(Token)));
    }

    [Fact]
    public async Task A_deposed_leader_writes_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var leadership = await plane.CampaignAsync(Token);
        await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PendingAsync("i", Token);
        await leadership.DisposeAsync();

        Assert.Equal(PassOutcome.Unfinished, await plane.Placements.ReconcileAsync(new(leadership.Guard), Token));

        Assert.Null((await plane.ViewAsync(Token)).Instance(id)!.NodeId);
    }

    [Fact]
    public async Task What_a_fenced_node_held_starts_elsewhere_under_a_higher_epoch()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var lost = await plane.ReadyNodeAsync("lost", Token);
        var id = await plane.PlacedAsync("i", lost, Token);
        var deleting = await plane.PlacedAsync("deleting", lost, Token);
        await plane.DeleteAsync(deleting, Token);
        var old = plane.State.View.Instance(id)!.Epoch;
        var other = await plane.ReadyNodeAsync("other", Token);

        await plane.Registry.DeregisterAsync("lost", fenced: true, Token);
        await plane.Placements.ReconcileAsync(new(leadership.Guard), Token);

        var view = await plane.ViewAsync(Token);
        Assert.Equal(other, view.Instance(id)!.NodeId);
        Assert.True(view.Instance(id)!.Epoch > old);
        Assert.Null(view.Instance(deleting));
        Assert.NotNull(view.Tombstone(deleting));
    }

    [Fact]
    public async Task A_local_disk_is_never_left_behind()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var term = new LeaderTerm(leadership.Guard);
        var lost = await plane.ReadyNodeAsync("lost", Token);
        var id = await plane.PendingAsync("i", Token, disk: DiskKind.Local);
        await plane.PlaceAsync(id, lost, Token);
        var old = plane.State.View.Instance(id)!.Epoch;
        await plane.ReadyNodeAsync("other", Token);
        await plane.Registry.DeregisterAsync("lost", fenced: true, Token);

        await plane.Placements.ReconcileAsync(term, Token);
        var before = await plane.Store.GetRevisionAsync(Token);
        await plane.Placements.ReconcileAsync(term, Token);

        var instance = (await plane.ViewAsync(Token)).Instance(id)!;
        Assert.Null(instance.NodeId);
        Assert.Equal(old, instance.Epoch);
        Assert.Equal(PlacementNeeds.LocalDiskLost, instance.PlacementRecord!.Placement.Reason);
        Assert.Equal(before, await plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task After_a_restore_placements_get_epochs_above_any_seen()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await using var leadership = await plane.CampaignAsync(Token);
        var node = await plane.ReadyNodeAsync("a", Token);
        var id = await plane.PlacedAsync("i", node, Token);
        await plane.Incarnations.CatchUpAsync(Epoch.None, ResourceVersion.Of(new(1), 1_000_000), Token);

        await plane.Placements.ReconcileAsync(new(leadership.Guard), Token);

        var instance = (await plane.ViewAsync(Token)).Instance(id)!;
        Assert.Equal(node, instance.NodeId);
        Assert.Equal(Epoch.After(Epoch.None, new(2)), instance.Epoch);
    }

    /// <summary>Moves the clock as well, by less than the period after which everything is looked at anyway.</summary>
    private static async Task UntilAsync(ControlPlane plane, Func<ClusterView, bool> holds)
    {
        for (var step = 0; !holds(plane.State.View); step++)
        {
            Assert.True(step < 1500, "It has not come to it.");
            plane.Time.Advance(TimeSpan.FromMilliseconds(5));
            await Task.Delay(TimeSpan.FromMilliseconds(5), RealClock.Instance, Token);
        }
    }
}
