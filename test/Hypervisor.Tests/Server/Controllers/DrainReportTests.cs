using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>
/// Protects: who drains a node is told what it waits for, in words that are true and few, and the store hears of it only when something is new.
/// </summary>
public sealed class DrainReportTests : IAsyncLifetime
{
    private GroupWorld _world = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private ControlPlane Plane => _world.Plane;

    public async ValueTask InitializeAsync() => _world = await GroupWorld.StartAsync(nodes: 1);

    public ValueTask DisposeAsync() => _world.DisposeAsync();

    [Fact]
    public async Task Each_that_cannot_leave_is_named_with_the_reason_until_it_is_gone()
    {
        var local = await PlaceAsync(await Plane.PendingAsync("db", Token, disk: DiskKind.Local));
        var source = await PlaceAsync(await Plane.PendingAsync("source", Token, change: Here));
        await PlaceAsync(await Plane.PendingAsync("copy", Token, change: record => record.Spec.Source = new() { InstanceUid = source.Value }));
        await SetAsync(NodeScheduling.Draining);
        Assert.Equal(("Leaving", "3 instances have to leave."), await DrainedAsync());

        await LookAsync();

        const string Waits = "The drain waits for 3 instances: default/copy (it is a clone, with disks copied on this node), default/db (it has a local disk), default/source (no other node has a place for it).";
        Assert.Equal(("HeldUp", Waits), await DrainedAsync());
        var (since, before) = ((await ConditionAsync())!.LastTransitionAt, await RevisionAsync());
        Assert.Equal(Plane.Time.GetUtcNow(), since.ToDateTimeOffset());

        // Neither another look nor another leader finds anything new.
        Plane.Time.Advance(TimeSpan.FromMinutes(1));
        await LookAsync();
        await LookAsync(new(_world.Term.Guard));
        Assert.Equal(before, await RevisionAsync());

        await GoneAsync(local);
        await LookAsync();
        Assert.Equal("The drain waits for 2 instances: default/copy (it is a clone, with disks copied on this node), default/source (no other node has a place for it).", (await DrainedAsync()).Message);
        Assert.Equal(since, (await ConditionAsync())!.LastTransitionAt);
    }

    [Fact]
    public async Task A_disruption_budget_is_named_with_its_numbers()
    {
        await _world.CreateAsync("web", 2, spec => spec.Disruption = new() { MaxUnavailable = 1 });
        await _world.RollAsync("web", rounds: 2);
        await Plane.ReadyNodeAsync("n1", Token);
        await SetAsync(NodeScheduling.Draining);

        await LookAsync();

        var view = await Plane.ViewAsync(Token);
        var kept = view.MembersOf(view.GroupByName("default", "web")!).Single(member => !member.IsEvicted);
        Assert.Equal(
            ("HeldUp", $"The drain waits for 1 instance: default/{kept.Name} (disruption budget of group web: 1 of at most 1 unavailable)."), await DrainedAsync());
        var before = await RevisionAsync();
        await LookAsync();
        Assert.Equal(before, await RevisionAsync());
    }

    [Fact]
    public async Task What_is_told_is_taken_back_when_the_node_is_uncordoned_or_empty()
    {
        var one = await PlaceAsync(await Plane.PendingAsync("one", Token, disk: DiskKind.Local));
        await SetAsync(NodeScheduling.Draining);
        await LookAsync();
        Assert.Equal("HeldUp", (await DrainedAsync()).Reason);
        var version = (await NodeAsync()).ResourceVersion;

        await SetAsync(NodeScheduling.Schedulable);
        Assert.Null(await ConditionAsync());
        await LookAsync();
        Assert.False(DrainReports.IsTold(await NodeAsync()));
        Assert.True((await NodeAsync()).ResourceVersion > version);

        await SetAsync(NodeScheduling.Draining);
        Assert.Equal("Leaving", (await DrainedAsync()).Reason);
        await LookAsync();
        Assert.Equal("HeldUp", (await DrainedAsync()).Reason);
        await GoneAsync(one);
        Assert.Equal(("Empty", "Nothing is left on it."), await DrainedAsync());
        Assert.Equal(ConditionStatus.True, (await ConditionAsync())!.Status);
        await LookAsync();
        Assert.False(DrainReports.IsTold(await NodeAsync()));
    }

    [Fact]
    public async Task Of_many_some_are_named_and_all_are_counted()
    {
        for (var number = 0; number < Limits.Control.DrainObstaclesNamed + 4; number++)
        {
            await PlaceAsync(await Plane.PendingAsync($"i{number:D2}", Token, disk: DiskKind.Local));
        }

        await SetAsync(NodeScheduling.Draining);
        await LookAsync();

        var (_, message) = await DrainedAsync();
        Assert.StartsWith($"The drain waits for {Limits.Control.DrainObstaclesNamed + 4} instances: default/i00 (it has a local disk), ", message, StringComparison.Ordinal);
        Assert.EndsWith("default/i07 (it has a local disk) and 4 more.", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_on_its_way_is_named_only_while_its_node_cannot_say_that_it_is_gone()
    {
        var one = await PlaceAsync(await Plane.PendingAsync("one", Token));
        await Plane.ReadyNodeAsync("n1", Token);
        await SetAsync(NodeScheduling.Draining);
        await LookAsync();
        Assert.True((await Plane.ViewAsync(Token)).Instance(one)!.IsEvicted);
        Assert.Equal(("Leaving", "1 instance has to leave."), await DrainedAsync());

        await Plane.PutAsync(Keys.NodeHealth((await NodeAsync()).Id), new NodeHealthRecord { Liveness = NodeLiveness.Down }, Token);
        await LookAsync();
        Assert.Equal("The drain waits for 1 instance: default/one (its node is Down and cannot say that it is gone).", (await DrainedAsync()).Message);
    }

    [Fact]
    public async Task Nothing_of_it_is_left_of_a_node_that_is_deregistered()
    {
        await PlaceAsync(await Plane.PendingAsync("one", Token, disk: DiskKind.Local));
        await SetAsync(NodeScheduling.Draining);
        await LookAsync();
        var id = (await NodeAsync()).Id;

        await Plane.Registry.DeregisterAsync("n0", fenced: true, Token);

        Assert.Empty((await Plane.Store.RangeAsync(RangeQuery.Single(Keys.NodeDrain(id)), Token)).Items);
    }

    /// <summary>No node has this label: it is where it is, however it came there.</summary>
    private static void Here(InstanceSpecRecord record) => record.Spec.Constraints = new() { NodeSelector = { ["here"] = "yes" } };

    private async Task<InstanceId> PlaceAsync(InstanceId id)
    {
        await Plane.PlaceAsync(id, (await NodeAsync()).Id, Token);
        return id;
    }

    private async Task LookAsync(LeaderTerm? term = null)
    {
        await Plane.ViewAsync(Token);
        await Plane.Evacuations.ReconcileAsync(term ?? _world.Term, Token);
        await Plane.ViewAsync(Token);
    }

    private async Task SetAsync(NodeScheduling scheduling)
    {
        var record = (await NodeAsync()).SpecRecord.Clone();
        (record.Spec ??= new()).Scheduling = scheduling;
        await Plane.PutAsync(Keys.NodeSpec((await NodeAsync()).Id), record, Token);
    }

    /// <summary>Deleted, and its node has said that nothing is left.</summary>
    private async Task GoneAsync(InstanceId id)
    {
        await Plane.DeleteAsync(id, Token);
        var instance = (await Plane.ViewAsync(Token)).Instance(id)!;
        await Plane.Intake.ReportAsync(instance.NodeId!.Value, new() { Removed = { new Removal { Uid = id.Value, Epoch = instance.Epoch.Value } } }, Token);
        await Plane.ViewAsync(Token);
    }

    private async Task<NodeEntry> NodeAsync() => (await Plane.ViewAsync(Token)).NodeByName("n0")!;

    private async Task<Condition?> ConditionAsync() => NodeView.Render(await NodeAsync()).Status.Conditions.SingleOrDefault(condition => condition.Type == "Drained");

    private async Task<(string Reason, string Message)> DrainedAsync() => await ConditionAsync() is { } condition ? (condition.Reason, condition.Message) : default;

    private async Task<long> RevisionAsync() => await Plane.Store.GetRevisionAsync(Token);
}
