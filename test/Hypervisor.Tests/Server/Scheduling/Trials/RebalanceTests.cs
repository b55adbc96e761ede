using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Trials;

/// <summary>
/// Protects: instances are moved only where that helps, only those that may be, no more than asked for, and each to the place that was kept for it; asking
/// changes nothing.
/// </summary>
public sealed class RebalanceTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_new_node_gets_its_share_and_no_more()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        var ids = await InstancesAsync(zones, 4, Allowed);
        await zones.PlaceAsync();
        await zones.NodeAsync("n2", "a");
        var before = (await zones.Plane.ViewAsync(Token)).Revision;

        var shown = await zones.Rebalancing.RebalanceAsync(new(), Token);

        Assert.Equal([("n1", "n2", false), ("n1", "n2", false)], shown.Moves.Select(move => (move.From, move.To, move.Applied)));
        Assert.True(shown.Moves[0].Gain > shown.Moves[1].Gain && shown.Moves[1].Gain >= 0.05);
        Assert.All(shown.Moves, move => Assert.Equal(move.Gain, move.ScoreAfter - move.ScoreBefore, 9));
        Assert.Equal((4, 2, 1, 0), (shown.Instances, shown.After.Nodes, shown.Before.EmptyNodes, shown.After.EmptyNodes));
        Assert.True(shown.Before.Deviation > 0.1 && shown.After.Deviation < 0.001);
        Assert.Equal(before, (await zones.Plane.ViewAsync(Token)).Revision);

        var applied = await zones.Rebalancing.RebalanceAsync(new() { Apply = true }, Token);
        Assert.All(applied.Moves, move => Assert.True(move.Applied, move.Message));
        await zones.FinishEvictionsAsync();

        Assert.Equal(["n1", "n1", "n2", "n2"], (await Task.WhenAll(ids.Select(zones.NodeOfAsync))).Order());
        Assert.Empty((await zones.Rebalancing.RebalanceAsync(new() { Apply = true }, Token)).Moves);
    }

    [Fact]
    public async Task Who_may_not_be_moved_is_counted_by_reason()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        await zones.InstanceAsync("alone", 1024);
        await zones.InstanceAsync("never", 1024, change: record => record.Spec.Constraints = new() { Rebalance = RebalancePolicy.Never });
        await zones.InstanceAsync("tied", 1024, DiskKind.Local, Allowed);
        var closed = await zones.NodeAsync("n0", "b");
        await zones.InstanceAsync("elsewhere", 64, change: record => record.Spec.Constraints = new() { Rebalance = RebalancePolicy.Allow, Zone = "b" });
        await zones.PlaceAsync();
        await zones.CordonAsync(closed);
        await zones.NodeAsync("n2", "a");

        var shown = await zones.Rebalancing.RebalanceAsync(new(), Token);

        Assert.Empty(shown.Moves);
        Assert.Equal(
            [(Rebalance.NotAllowed, 2), (Rebalance.LocalDisk, 1), (Rebalance.NodeTakesNone, 1)],
            shown.Hindrances.Where(hindrance => hindrance.Message.Length > 0).Select(hindrance => (hindrance.Reason, hindrance.Instances)));
    }

    [Fact]
    public async Task By_another_objective_than_its_own_an_instance_goes_where_that_one_says()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        await zones.NodeAsync("n2", "a");
        var ids = await InstancesAsync(zones, 3, Allowed);
        await zones.PlaceAsync();

        var applied = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, Objective = PlacementStrategy.Binpack }, Token);
        await zones.FinishEvictionsAsync();

        var move = Assert.Single(applied.Moves);
        Assert.Equal((0, 1), (applied.Before.EmptyNodes, applied.After.EmptyNodes));
        Assert.Equal([move.To, move.To, move.To], await Task.WhenAll(ids.Select(zones.NodeOfAsync)));
    }

    /// <summary>Protects: what a move is for is written down, and survives the leader that proposed it.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_change_of_leader_in_the_middle_of_a_move_changes_nothing_about_where_it_goes(bool hasLeft)
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        await zones.NodeAsync("n2", "a");
        var ids = await InstancesAsync(zones, 3, Allowed);
        await zones.PlaceAsync();
        var applied = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, Objective = PlacementStrategy.Binpack }, Token);
        if (hasLeft)
        {
            await zones.LeaveAsync();
        }

        await zones.ChangeLeaderAsync();
        if (!hasLeft)
        {
            // The new one moves nobody else for it.
            Assert.Empty((await zones.Rebalancing.RebalanceAsync(new() { Apply = true, Objective = PlacementStrategy.Binpack, MaxMoves = 1 }, Token)).Moves);
            await zones.LeaveAsync();
        }

        await zones.PlaceAsync();

        // By its own strategy it would go back to the node that is empty now.
        var move = Assert.Single(applied.Moves);
        Assert.Equal([move.To, move.To, move.To], await Task.WhenAll(ids.Select(zones.NodeOfAsync)));

        // And that was for this once.
        var view = await zones.Plane.ViewAsync(Token);
        Assert.All(ids, id => Assert.Equal(PlacementStrategy.Unspecified, view.Instance(id)!.PlacementRecord!.NextStrategy));
    }

    [Fact]
    public async Task What_is_under_way_counts_against_the_most()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        await InstancesAsync(zones, 6, Allowed);
        await zones.PlaceAsync();
        await zones.NodeAsync("n2", "a");

        var first = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, MaxMoves = 1 }, Token);
        var again = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, MaxMoves = 1 }, Token);
        var more = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, MaxMoves = 2 }, Token);

        Assert.Single(first.Moves);
        Assert.Equal((0, 1), (again.Moves.Count, again.UnderWay));
        Assert.Single(more.Moves);
    }

    [Fact]
    public async Task A_rule_that_no_longer_holds_comes_first()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a");
        var ids = new List<InstanceId>();
        foreach (var number in Enumerable.Range(0, 2))
        {
            ids.Add(await zones.InstanceAsync($"web-{number}", 64, change: record =>
            {
                record.Metadata.Labels["app"] = "web";
                record.Spec.Constraints = new()
                {
                    Rebalance = RebalancePolicy.Allow,
                    AntiAffinity = { new AffinityTerm { Selector = "app=web", Topology = "zone", Preferred = number == 0 } },
                };
            }));
        }

        await zones.PlaceAsync();

        // However it came about.
        await zones.Plane.PlaceAsync(ids[1], (await zones.Plane.ViewAsync(Token)).NodeByName("n1")!.Id, Token);
        await zones.NodeAsync("n2", "b");

        var shown = await zones.Rebalancing.RebalanceAsync(new(), Token);

        // Either of them: whoever asks to be alone keeps the other away as well.
        var move = Assert.Single(shown.Moves);
        Assert.Equal(("n1", "n2", TrialMove.AgainstItsRules), (move.From, move.To, move.ScoreBefore));
    }

    /// <summary>Protects: rebalancing ends, whatever there is: what was moved is not moved back and forth.</summary>
    [Theory]
    [InlineData(1, PlacementStrategy.Spread)]
    [InlineData(2, PlacementStrategy.Binpack)]
    [InlineData(3, PlacementStrategy.Balanced)]
    [InlineData(4, PlacementStrategy.Unspecified)]
    [InlineData(5, PlacementStrategy.Spread)]
    [InlineData(6, PlacementStrategy.Binpack)]
    public async Task Moves_come_to_an_end_and_nobody_is_lost(int seed, PlacementStrategy objective)
    {
        var random = new Random(seed);
        await using var zones = await ZonedPlane.StartAsync(Token);
        var ids = new List<InstanceId>();
        foreach (var round in Enumerable.Range(0, 4))
        {
            await zones.NodeAsync($"n{round}", "abc"[round % 3].ToString(), 1024 * random.Next(2, 6));
            foreach (var number in Enumerable.Range(0, 5))
            {
                ids.Add(await zones.InstanceAsync($"i{round}-{number}", 64 * random.Next(1, 8), change: Allowed));
            }

            await zones.PlaceAsync();
        }

        var placed = (await Task.WhenAll(ids.Select(zones.NodeOfAsync))).Count(node => node.Length > 0);
        var rounds = 0;
        while (true)
        {
            var applied = await zones.Rebalancing.RebalanceAsync(new() { Apply = true, MaxMoves = 50, Objective = objective }, Token);
            Assert.Equal(applied.Moves.Count, applied.Moves.Select(move => move.InstanceUid).Distinct().Count());
            await zones.FinishEvictionsAsync();
            Assert.Equal(placed, (await Task.WhenAll(ids.Select(zones.NodeOfAsync))).Count(node => node.Length > 0));
            if (!applied.Moves.Any(move => move.Applied))
            {
                break;
            }

            Assert.True(++rounds < 20, "it does not come to an end");
        }

        var view = await zones.Plane.ViewAsync(Token);
        Assert.All(view.Nodes, node => Assert.True(node.Allocated.ToResources().MemoryBytes <= node.Allocatable.MemoryBytes));
    }

    [Fact]
    public async Task Only_the_leader_moves_and_any_server_shows()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);

        Assert.Empty((await zones.Rebalancing.RebalanceAsync(new(), Token)).Moves);
        await Assert.ThrowsAsync<NotLeadingException>(() => zones.Rebalancing.RebalanceAsync(new() { Apply = true }, Token));
    }

    [Theory]
    [InlineData(-1, 0, 0, "max_moves")]
    [InlineData(1001, 0, 0, "max_moves")]
    [InlineData(1, -0.1, 0, "min_gain")]
    [InlineData(1, double.NaN, 0, "min_gain")]
    [InlineData(1, 1.1, 0, "min_gain")]
    [InlineData(1, 0, 9, "objective")]
    public async Task What_cannot_be_asked_is_refused(int moves, double gain, int objective, string field)
    {
        await using var zones = await ZonedPlane.StartAsync(Token);

        var refused = await Assert.ThrowsAsync<RpcException>(
            () => zones.Rebalancing.RebalanceAsync(new() { MaxMoves = moves, MinGain = gain, Objective = (PlacementStrategy)objective }, Token));

        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        Assert.Contains(field, refused.Status.Detail, StringComparison.Ordinal);
    }

    private static void Allowed(InstanceSpecRecord record) => record.Spec.Constraints = new() { Rebalance = RebalancePolicy.Allow };

    private static async Task<IReadOnlyList<InstanceId>> InstancesAsync(ZonedPlane zones, int count, Action<InstanceSpecRecord> change)
    {
        var ids = new List<InstanceId>();
        foreach (var number in Enumerable.Range(0, count))
        {
            ids.Add(await zones.InstanceAsync($"i{number}", 1024, change: change));
        }

        return ids;
    }
}
