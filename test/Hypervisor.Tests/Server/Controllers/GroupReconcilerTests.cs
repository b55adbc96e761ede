using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Groups;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: a group has the members that it asks for, made by the leader only, and each of them is an instance like any other.</summary>
public sealed class GroupReconcilerTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Members_are_made_of_the_template_spread_and_placed_and_counted()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 6, spec => spec.Template.Spec.Constraints = new() { Spread = { new SpreadConstraint { Topology = "node" } } });

        await world.ReconcileAsync("web");

        var members = await world.MembersAsync("web");
        Assert.Equal(6, members.Count);
        Assert.All(members, member =>
        {
            Assert.Matches("^web-[0-9a-f]{8}$", member.Name);
            Assert.Equal(("web", "web"), (member.Metadata.Labels["app"], member.Metadata.Labels[GroupLabel.Key]));
            Assert.Equal(("Group", "web", 1), (member.Metadata.Owner.Kind, member.Metadata.Owner.Name, member.Metadata.Owner.Revision));
            Assert.Equal(RestartPolicy.Always, member.Spec.Restart.Policy);
        });
        Assert.Equal(["n0", "n0", "n1", "n1", "n2", "n2"], members.Select(member => member.Node!.Name).Order());
        var status = (await world.GetAsync("web")).Status;
        Assert.Equal((6, 6, 0, 6, 6), (status.Desired, status.Current, status.Ready, status.Updated, status.Unavailable));

        await world.NodesActAsync("web");
        await world.ReconcileAsync("web");
        var done = await world.GetAsync("web");
        Assert.Equal((6, 0), (done.Status.Ready, done.Status.Unavailable));
        Assert.Equal("Complete", GroupWorld.ConditionOf(done, "Progressing").Reason);
        Assert.Equal(ConditionStatus.True, GroupWorld.ConditionOf(done, "Available").Status);
    }

    /// <summary>Protects: looking twice does what looking once does, and costs no write.</summary>
    [Fact]
    public async Task What_is_as_it_should_be_is_left_alone()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3);
        await world.RollAsync("web", rounds: 2);
        var before = await world.Plane.Store.GetRevisionAsync(Token);

        await world.ReconcileAsync("web");

        Assert.Equal(before, await world.Plane.Store.GetRevisionAsync(Token));
    }

    [Fact]
    public async Task It_heals_to_the_count_and_is_scaled_up_and_down()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3);
        await world.RollAsync("web", rounds: 2);
        var first = (await world.MembersAsync("web"))[0];
        await world.Plane.DeleteAsync(first.Id, Token);

        await world.RollAsync("web", rounds: 2);
        var healed = await world.MembersAsync("web");
        Assert.Equal(3, healed.Count);
        Assert.DoesNotContain(healed, member => member.Id == first.Id);

        await world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 7 }, Token);
        await world.RollAsync("web", rounds: 2);
        Assert.Equal(7, (await world.GetAsync("web")).Status.Ready);

        await world.Api.Updates.ScaleAsync(new() { Group = "web", Count = 0 }, Token);
        await world.RollAsync("web", rounds: 2);
        Assert.Equal(0, world.Plane.State.View.InstanceCount);
    }

    /// <summary>Protects: members that nobody can place wait as any instance does, and are not made again and again.</summary>
    [Fact]
    public async Task Members_without_a_node_are_members_and_why_tells_what_they_wait_for()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 1);
        await world.CreateAsync("web", 3, spec => spec.Template.Spec.Resources.MemoryBytes = 5L << 30);
        await world.ReconcileAsync("web");
        await world.ReconcileAsync("web");

        Assert.Equal(3, (await world.MembersAsync("web")).Count);
        var why = await world.Api.Queries.ExplainAsync(new() { Group = "web" }, Token);
        Assert.Equal(("n0", 1), (why.Places.Single().Node, why.Places.Single().Members));
        var waiting = why.Waiting.Single();
        Assert.Equal(("InsufficientResources", 2), (waiting.Reason, waiting.Members));
        Assert.Contains("1 has 3 GiB of memory free of the 5 GiB asked for", waiting.Message, StringComparison.Ordinal);
        Assert.Equal(2, waiting.Examples.Count);
        Assert.Equal("3 of 3 members: 1 on 1 node, 0 ready", why.Message);
    }

    [Fact]
    public async Task A_rolling_update_keeps_its_limits_and_finishes()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 5, spec => spec.Update = new() { MaxSurge = 2, MaxUnavailable = 1 });
        await world.RollAsync("web", rounds: 3);

        var updated = await world.ImageAsync("web", "nginx");
        Assert.Equal((2, 5), (updated.Status.Revision, updated.Status.Ready));
        await world.RollAsync("web", check: async () =>
        {
            var status = (await world.GetAsync("web")).Status;
            Assert.InRange(status.Ready, 4, 7);
            Assert.InRange(status.Current, 4, 7);
        });

        var members = await world.MembersAsync("web");
        Assert.Equal(5, members.Count);
        Assert.All(members, member => Assert.Equal("nginx:latest", member.Spec.Image));
        Assert.Equal("Complete", GroupWorld.ConditionOf(await world.GetAsync("web"), "Progressing").Reason);
    }

    [Fact]
    public async Task An_update_that_does_not_run_stops_with_its_reason_and_is_rolled_back()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3, spec => spec.Update = new() { MaxSurge = 1, ProgressDeadline = Duration.FromTimeSpan(TimeSpan.FromSeconds(60)) });
        await world.RollAsync("web", rounds: 3);
        var old = await world.MembersAsync("web");

        await world.ImageAsync("web", "broken");
        await world.ReconcileAsync("web");
        var broken = Assert.Single(await world.MembersAsync("web"), member => member.Metadata.Owner.Revision == 2);
        await world.ReportAsync(broken, InstanceState.Starting, status => (status.Reason, status.Message) = ("ImageNotFound", "There is no such image."));
        await world.RollAsync("web", runs: _ => false);

        var stopped = await world.GetAsync("web");
        var progress = GroupWorld.ConditionOf(stopped, "Progressing");
        Assert.Equal((ConditionStatus.False, "Stalled"), (progress.Status, progress.Reason));
        Assert.Equal($"No member became available for 1 min; {broken.Name} is STARTING (ImageNotFound): There is no such image.", progress.Message);
        Assert.Equal((4, 3, 1), (stopped.Status.Current, stopped.Status.Ready, stopped.Status.Updated));
        Assert.Contains("Stalled", (await world.Api.Queries.ExplainAsync(new() { Group = "web" }, Token)).Message, StringComparison.Ordinal);

        await world.Api.Updates.RollBackAsync(new() { Group = "web" }, Token);
        await world.RollAsync("web", rounds: 3);
        Assert.Equal(old.Select(member => member.Id), (await world.MembersAsync("web")).Select(member => member.Id));
        Assert.Equal("Complete", GroupWorld.ConditionOf(await world.GetAsync("web"), "Progressing").Reason);
    }

    [Fact]
    public async Task Of_a_gang_all_get_a_node_or_none_is_made()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 2);
        await world.CreateAsync("gang", 3, spec =>
        {
            spec.Gang = true;
            spec.Template.Spec.Resources.MemoryBytes = 5L << 30;
        });
        await world.ReconcileAsync("gang");

        Assert.Empty(await world.MembersAsync("gang"));
        var progress = GroupWorld.ConditionOf(await world.GetAsync("gang"), "Progressing");
        Assert.Equal((ConditionStatus.False, "GangDoesNotFit"), (progress.Status, progress.Reason));
        Assert.Equal(
            "Of 3 members that need a node at once 2 find one; the next: 2 nodes: 2 have less than the 5 GiB of memory asked for", progress.Message);

        // The room that was held for the others is free again.
        await world.CreateAsync("web", 2, spec => spec.Template.Spec.Resources.MemoryBytes = 2L << 30);
        await world.ReconcileAsync("web");
        Assert.All(await world.MembersAsync("web"), member => Assert.NotNull(member.NodeId));

        await world.Plane.ReadyNodeAsync("n9", Token);
        await world.ReconcileAsync("gang");
        Assert.Empty(await world.MembersAsync("gang"));
        world.Plane.Time.Advance(Limits.Groups.GangPause);
        await world.ReconcileAsync("gang");
        var members = await world.MembersAsync("gang");
        Assert.Equal(["n0", "n1", "n9"], members.Select(member => member.Node!.Name).Order());
        Assert.Single(members.Select(member => member.SpecRevision).Distinct());
    }

    /// <summary>Protects: also a gang of many transactions, of which some were lost, leaves no part of itself.</summary>
    [Fact]
    public async Task What_a_gang_left_behind_that_is_not_whole_is_taken_back()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 2);
        await world.CreateAsync("gang", 40, spec => spec.Gang = true);
        await world.ReconcileAsync("gang");
        var whole = await world.MembersAsync("gang");
        Assert.Equal(40, whole.Count);
        Assert.All(whole, member => Assert.NotNull(member.NodeId));
        Assert.Null((await world.EntryAsync("gang")).StatusRecord!.FormingSince);

        // As a leader leaves it that died between two transactions.
        var entry = await world.EntryAsync("gang");
        var status = entry.StatusRecord!.Clone();
        status.FormingSince = whole[0].Metadata.CreatedAt;
        await world.Plane.PutAsync(Keys.GroupStatus(entry.Uid), status, Token);
        await world.Plane.DeleteAsync(whole[0].Id, Token);
        await world.ReconcileAsync("gang");

        var again = await world.MembersAsync("gang");
        Assert.Equal(40, again.Count);
        Assert.Empty(again.Select(member => member.Id).Intersect(whole.Select(member => member.Id)));
    }

    /// <summary>Protects: others are served between two parts of a large group, and no more of it than a part is held in memory.</summary>
    [Fact]
    public async Task A_large_group_is_made_and_removed_in_parts()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 1);
        await world.CreateAsync("large", 2500);
        var uid = (await world.EntryAsync("large")).Uid;
        var progress = new GroupProgress(world.Plane.Time);

        foreach (var expected in new[] { 1024, 2048, 2500 })
        {
            Assert.Equal(TimeSpan.Zero, (await world.Plane.Groups.ReconcileAsync(world.Term, uid, progress, Token)).Again);
            Assert.Equal(expected, world.Plane.State.View.InstanceCount);
        }

        await world.Api.Updates.ScaleAsync(new() { Group = "large", Count = 1000 }, Token);
        await world.Plane.Groups.ReconcileAsync(world.Term, uid, progress, Token);
        Assert.Equal(1476, (await world.GetAsync("large")).Status.Current);
        await world.ReconcileAsync("large");
        Assert.Equal(1000, (await world.GetAsync("large")).Status.Current);
    }

    [Fact]
    public async Task Deleting_a_group_leaves_nothing_of_it()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3);
        await world.RollAsync("web", rounds: 2);
        await world.ImageAsync("web", "nginx");

        await world.Api.Updates.DeleteAsync(new() { Group = "web" }, Token);
        await world.RollAsync("web", rounds: 3);

        var left = await world.Plane.Store.RangeAsync(RangeQuery.Prefix("groups/"), Token);
        Assert.Empty(left.Items);
        Assert.Equal(0, world.Plane.State.View.InstanceCount);
        Assert.Empty(world.Plane.State.View.MembersByGroup);
        Assert.Empty(world.Plane.State.View.GroupTallies);
    }

    [Fact]
    public async Task Deleting_a_group_can_leave_its_members_as_instances_of_their_own()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3);
        await world.RollAsync("web", rounds: 2);

        await world.Api.Updates.DeleteAsync(new() { Group = "web", Orphan = true }, Token);
        await world.RollAsync("web", rounds: 2);

        var left = (await world.Plane.ViewAsync(Token)).Instances.ToList();
        Assert.Equal(3, left.Count);
        Assert.All(left, instance => Assert.True(
            instance is { Deleting: false, Metadata.Owner: null } && !instance.Metadata.Labels.ContainsKey(GroupLabel.Key)));
        Assert.Empty(world.Plane.State.View.Groups);
    }

    /// <summary>Protects: one that is unreachable is replaced, and is not too many before others have its place.</summary>
    [Fact]
    public async Task A_member_on_a_node_that_is_down_is_replaced_elsewhere()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 2);
        await world.CreateAsync("web", 2, spec => spec.Template.Spec.Constraints = new() { Spread = { new SpreadConstraint { Topology = "node", Preferred = true } } });
        await world.RollAsync("web", rounds: 2);
        var lost = (await world.MembersAsync("web")).Single(member => member.Node!.Name == "n0");

        var down = new NodeHealthRecord { Liveness = NodeLiveness.Down, Since = world.Plane.Time.GetUtcNow().ToTimestamp() };
        await world.Plane.PutAsync(Keys.NodeHealth(lost.NodeId!.Value), down, Token);
        await world.ReconcileAsync("web");
        Assert.Equal(2, (await world.MembersAsync("web")).Count);

        world.Plane.Time.Advance(Limits.Groups.LostAfter);
        await world.ReconcileAsync("web");
        var three = await world.MembersAsync("web");
        Assert.Equal(3, three.Count);
        Assert.Contains(three, member => member.Id == lost.Id);

        await world.RollAsync("web", rounds: 2, runs: member => member.Node!.Name == "n1");
        Assert.Equal(["n1", "n1"], (await world.MembersAsync("web")).Select(member => member.Node!.Name));
        Assert.Equal(2, (await world.GetAsync("web")).Status.Ready);
    }

    /// <summary>Protects: what a member is, its group says, so that no update of one is undone by the next of all.</summary>
    [Fact]
    public async Task A_member_is_updated_through_its_group_only()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 1);
        await world.ReconcileAsync("web");
        var member = (await world.MembersAsync("web"))[0];
        var update = new UpdateInstanceRequest
        {
            Instance = new() { Metadata = new() { Name = member.Name, Labels = { ["app"] = "other" } } },
            UpdateMask = new() { Paths = { "metadata.labels" } },
        };

        var error = await Assert.ThrowsAsync<Grpc.Core.RpcException>(() =>
            new InstanceUpdate(world.Plane.Reads, world.Plane.Writer, world.Plane.Time, null).UpdateAsync(update, Token));

        Assert.Equal($"Instance '{member.Name}' is what its group 'web' says; update the group.", error.Status.Detail);
    }

    [Fact]
    public async Task A_leader_that_was_deposed_makes_no_member()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3);
        var stale = new Hypervisor.Server.Controllers.LeaderTerm(Compare.Modified("leaders/controllers", 12345));
        var uid = (await world.EntryAsync("web")).Uid;

        await world.Plane.Groups.ReconcileAsync(stale, uid, new(world.Plane.Time), Token);

        Assert.Equal(0, (await world.Plane.ViewAsync(Token)).InstanceCount);
        Assert.Null((await world.EntryAsync("web")).StatusRecord);
    }

    /// <summary>Protects: whoever disturbs members asks first, and a group without a budget does not mind.</summary>
    [Fact]
    public async Task A_disruption_budget_counts_what_is_missing_already()
    {
        await using var world = await GroupWorld.StartAsync();
        await world.CreateAsync("web", 3, spec => spec.Disruption = new() { MaxUnavailable = 1 });
        await world.CreateAsync("free", 1);
        await world.RollAsync("web", rounds: 2);
        await world.RollAsync("free", rounds: 2);
        var (members, free) = (await world.MembersAsync("web"), (await world.MembersAsync("free"))[0]);

        var view = world.Plane.State.View;
        Assert.True(DisruptionBudgets.MayDisturb(view, members[0]));
        Assert.True(DisruptionBudgets.MayDisturb(view, free));
        var chosen = new HashSet<InstanceId> { members[0].Id };
        Assert.False(DisruptionBudgets.MayDisturb(view, members[1], chosen));
        Assert.True(DisruptionBudgets.MayDisturb(view, members[0], chosen));

        await world.ReportAsync(members[0], InstanceState.Failed);
        view = await world.Plane.ViewAsync(Token);
        Assert.False(DisruptionBudgets.MayDisturb(view, members[1]));
        Assert.True(DisruptionBudgets.MayDisturb(view, view.Instance(members[0].Id)!));
    }
}
