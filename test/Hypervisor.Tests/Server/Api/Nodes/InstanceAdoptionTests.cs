using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Nodes;

/// <summary>Protects: what runs without the control plane's knowledge is taken in as it is, above its old epoch, or refused with a reason.</summary>
public sealed class InstanceAdoptionTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_becomes_the_clusters_as_the_node_recorded_it_under_a_higher_epoch_of_the_same_stay()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var copy = UnclaimedWorld.Copy();
        await world.ReportAsync(copy);

        var instance = await world.AdoptAsync();

        var entry = world.Plane.State.View.Instance(new(copy.Uid))!;
        Assert.Equal(copy.Spec, entry.Spec);
        Assert.Equal(("web", "default", 3), (instance.Metadata.Name, instance.Metadata.Project, instance.Metadata.Generation));
        Assert.Equal("front", instance.Metadata.Labels["tier"]);
        Assert.Equal((world.Node.Value, copy.Epoch + 1, copy.Epoch), (entry.NodeId!.Value.Value, entry.Epoch.Value, entry.PlacementRecord!.Placement.FirstEpoch));
        Assert.Equal(copy.Spec.Resources.MemoryBytes, world.Plane.State.View.Node(world.Node)!.Allocated.MemoryBytes);
    }

    [Theory]
    [InlineData(InstanceState.Running, DesiredState.Running)]
    [InlineData(InstanceState.Paused, DesiredState.Paused)]
    [InlineData(InstanceState.Suspended, DesiredState.Suspended)]
    [InlineData(InstanceState.Stopped, DesiredState.Stopped)]
    public async Task What_it_does_is_what_is_wanted_of_it(InstanceState does, DesiredState wanted)
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var copy = UnclaimedWorld.Copy();
        copy.State = does;
        await world.ReportAsync(copy);

        Assert.Equal(wanted, (await world.AdoptAsync()).Spec.DesiredState);
    }

    [Fact]
    public async Task An_epoch_of_a_later_incarnation_raises_the_stores_first()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var copy = UnclaimedWorld.Copy();
        copy.Epoch = (4L << 48) + 9;
        await world.ReportAsync(copy);

        var instance = await world.AdoptAsync();

        Assert.Equal(5, world.Plane.State.Incarnation.Value);
        Assert.Equal((5L << 48) + 1, instance.Placement.Epoch);
    }

    [Fact]
    public async Task A_repeated_request_is_answered_alike_and_writes_nothing()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        await world.ReportAsync(UnclaimedWorld.Copy());
        var first = await world.AdoptAsync(requestId: "r1");
        var revision = await world.Plane.Store.GetRevisionAsync(Token);

        Assert.Equal(first, await world.AdoptAsync(requestId: "r1"));
        await world.ReportAsync();
        Assert.Equal(first.Metadata.Uid, (await world.AdoptAsync(requestId: "r1")).Metadata.Uid);
        Assert.Equal(first.Placement.Epoch, world.Plane.State.View.Instance(new(first.Metadata.Uid))!.Epoch.Value);
        Assert.True(await world.Plane.Store.GetRevisionAsync(Token) <= revision + 1, "Only the agent's report may have been written.");
        Assert.Equal(
            "REQUEST_ID_REUSED",
            await UnclaimedWorld.ReasonAsync(() => world.AdoptAsync(first.Metadata.Uid, requestId: "r1")));
    }

    [Theory]
    [InlineData("nothing of that name", "NotFound")]
    [InlineData("two of that name", "AMBIGUOUS_REFERENCE")]
    [InlineData("known already", "INSTANCE_KNOWN")]
    [InlineData("name taken", "AlreadyExists")]
    [InlineData("no record", "NO_RECORD")]
    [InlineData("invalid record", "INVALID_RECORD")]
    [InlineData("no uid", "INVALID_RECORD")]
    [InlineData("deleted", "INSTANCE_DELETED")]
    [InlineData("being purged", "INSTANCE_DELETED")]
    [InlineData("on two nodes", "UNCLAIMED_ELSEWHERE")]
    [InlineData("no room", "NODE_CANNOT_HOLD_INSTANCE")]
    [InlineData("not leading", "Unavailable")]
    public async Task What_cannot_be_taken_in_is_refused_and_stays_unclaimed(string obstacle, string reason)
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var (plane, copy) = (world.Plane, UnclaimedWorld.Copy());
        var also = Array.Empty<UnclaimedInstance>();
        switch (obstacle)
        {
            case "nothing of that name":
                copy.Name = "other";
                break;
            case "two of that name":
                also = [UnclaimedWorld.Copy(number: 8)];
                break;
            case "name taken":
                await plane.PendingAsync("web", Token);
                break;
            case "no record":
                copy.Spec = null;
                break;
            case "invalid record":
                copy.Spec.Image = "..";
                break;
            case "no uid":
                copy.Uid = "../../etc";
                break;
            case "deleted":
                await plane.PutAsync(Keys.Tombstone(new(copy.Uid)), new TombstoneRecord { Project = "default", Name = "web", Epoch = copy.Epoch }, Token);
                break;
            case "on two nodes":
                await world.ReportAsync(await plane.ReadyNodeAsync("n2", Token), copy);
                break;
            case "no room":
                copy.Spec.Resources.MemoryBytes = 9L << 30;
                break;
            case "not leading":
                world.Current.Value = null;
                break;
        }

        await world.ReportAsync([copy, .. also]);
        switch (obstacle)
        {
            case "known already":
                await world.AdoptAsync();
                break;
            case "being purged":
                await world.PurgeAsync();
                break;
        }

        var before = plane.State.View.InstanceCount;
        Assert.Equal(reason, await UnclaimedWorld.ReasonAsync(() => world.AdoptAsync()));
        Assert.Equal(before, (await plane.ViewAsync(Token)).InstanceCount);
    }

    [Fact]
    public async Task A_cordoned_node_may_keep_what_it_has()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var spec = world.Plane.State.View.Node(world.Node)!.SpecRecord.Clone();
        spec.Spec.Scheduling = NodeScheduling.Cordoned;
        await world.Plane.PutAsync(Keys.NodeSpec(world.Node), spec, Token);
        await world.ReportAsync(UnclaimedWorld.Copy());

        Assert.Equal("n1", (await world.AdoptAsync()).Placement.Node);
    }

    [Fact]
    public async Task What_it_was_made_from_is_not_shown_with_the_node()
    {
        await using var world = await UnclaimedWorld.StartAsync();
        var half = UnclaimedWorld.Copy("half", 8);
        half.Spec = null;
        await world.ReportAsync(UnclaimedWorld.Copy(), half);

        var shown = NodeView.Render(world.Plane.State.View.Node(world.Node)!).Status.Unclaimed;

        Assert.Equal([("web", true), ("half", false)], shown.Select(copy => (copy.Name, copy.Adoptable)));
        Assert.All(shown, copy => Assert.Null(copy.Spec));
    }
}
