using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>
/// Protects: a gang comes when its priority says, others make room for all of it or for none of it, and what is kept for it meanwhile is nobody else's, and
/// nobody's when it is not wanted any more.
/// </summary>
public sealed class GangTests : EvictionScene
{
    private const long Size = 100 << 20;

    private GroupWorld Groups => GroupWorld.Over(Plane, Term);

    public enum Asked
    {
        Before,
        After,
    }

    [Theory]
    [InlineData(20, Asked.After, false)]
    [InlineData(10, Asked.Before, false)]
    [InlineData(10, Asked.After, true)]
    [InlineData(0, Asked.Before, true)]
    public async Task Who_is_decided_about_first_follows_from_priority_and_then_from_who_asked_first(int priority, Asked asked, bool made)
    {
        // A leadership that time does not end.
        Term = new(Compare.Absent("nothing"));
        await CreateAsync(count: 2);
        if (asked == Asked.Before)
        {
            await AskAsync("single", priority);
        }

        await LookAsync();
        await Plane.ReadyNodeAsync("a", Token);
        if (asked == Asked.After)
        {
            await AskAsync("single", priority);
        }

        await LookLaterAsync();
        Assert.Equal(made ? 2 : 0, await CountAsync());

        await PassAsync();
        await LookLaterAsync();
        Assert.Equal(2, await CountAsync());
    }

    /// <summary>Protects: those of a lower priority may come all the time.</summary>
    [Fact]
    public async Task A_stream_of_lower_priorities_does_not_keep_it_waiting()
    {
        Term = new(Compare.Absent("nothing"));
        var nodes = new[] { await NodeAsync("a"), await NodeAsync("b") };
        await CreateAsync(count: 2);
        for (var round = 0; round < 8 && await CountAsync() == 0; round++)
        {
            await AskAsync($"before-{round}", 0);
            await PassAsync();
            await AskAsync($"in-line-{round}", 0);
            await LookLaterAsync();
            foreach (var victim in View.Instances.Where(instance => instance.IsEvicted).ToList())
            {
                await ReportAsync(victim.NodeId!.Value, victim.Id, InstanceState.Stopped);
                await RemovedAsync(victim.NodeId!.Value, victim.Id);
                await AskAsync($"as-one-left-{round}-{victim.Name}", 0);
                await PassAsync();
            }
        }

        Assert.Equal(2, await CountAsync());
        AssertFits(nodes);
    }

    [Fact]
    public async Task Its_members_are_made_together_once_all_who_make_room_have_left()
    {
        Term = new(Compare.Absent("nothing"));
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b"), await NodeAsync("c")];
        var low = await FillAsync(nodes[..2], 0);
        await CreateAsync(count: 3);
        await LookAsync();

        Assert.All(low, id => Assert.Equal((Evictions.Preempted, Group().Uid), (View.Instance(id)!.Eviction!.Reason, View.Instance(id)!.Eviction!.ForUid)));
        var progress = Progress();
        Assert.Equal((ConditionStatus.True, GroupConditions.GangWaitsForRoom), (progress.Status, progress.Reason));
        Assert.Equal("2 instances leave nodes 'a', 'b' to make room for 3 members that need a node at once.", progress.Message);
        var kept = Kept();
        Assert.Equal(3, kept.Count);

        // The node that is free is kept for it as well.
        var other = await AskAsync("other", 0);
        await PassAsync();
        Assert.Null(View.Instance(other)!.NodeId);

        await LeavesAsync(nodes[0], low[0]);
        await LookLaterAsync();
        Assert.Equal(0, await CountAsync());
        Assert.Equal(kept, Kept());
        Assert.Equal(progress, Progress());

        await LeavesAsync(nodes[1], low[1]);
        await LookLaterAsync();
        var members = await Groups.MembersAsync("gang");
        Assert.Equal(["a", "b", "c"], members.Select(member => member.Node!.Name).Order());
        Assert.Equal(kept, members.Select(member => member.Id.Value).Order(StringComparer.Ordinal));
        Assert.Single(members.Select(member => member.SpecRevision).Distinct());
        Assert.Empty(Term.Fleet.Ledger.Claims);
        AssertFits(nodes);
    }

    [Fact]
    public async Task Where_only_some_of_it_would_find_room_nobody_has_to_leave_and_nothing_is_kept()
    {
        Term = new(Compare.Absent("nothing"));
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b"), await NodeAsync("c")];
        await FillAsync(nodes[..1], 0);
        await FillAsync(nodes[1..2], 10);
        await CreateAsync(count: 3);
        await LookAsync();

        Assert.DoesNotContain(View.Instances, instance => instance.IsEvicted);
        Assert.Empty(Term.Fleet.Ledger.Claims);
        Assert.Equal(
            (ConditionStatus.False, GroupConditions.GangDoesNotFit, "Of 3 members that need a node at once 2 find one; the next: 3 nodes: 3 have less than the 100 MiB of memory asked for"),
            (Progress().Status, Progress().Reason, Progress().Message));
        var other = await AskAsync("other", 0);
        await PassAsync();
        Assert.Equal(nodes[2], View.Instance(other)!.NodeId);
    }

    /// <summary>Protects: what is enough for one of its members is not enough for two.</summary>
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task The_disruption_budgets_of_others_hold_for_all_of_its_members_together(int budget, bool told)
    {
        Term = new(Compare.Absent("nothing"));
        await NodeAsync("a");
        await NodeAsync("b");

        // One who is cheaper and of no use: so all nodes are looked at for each member.
        await Plane.PlaceAsync(
            await Plane.PendingAsync("least", Token, memoryBytes: Size / 2, change: record => record.Spec.Constraints = new() { Priority = -100 }),
            await Plane.ReadyNodeAsync("small", Token, memoryBytes: Size / 2),
            Token);
        await Groups.CreateAsync("web", 2, spec =>
        {
            spec.Disruption = new() { MaxUnavailable = budget };
            spec.Template.Spec.Resources.MemoryBytes = Size;
        });
        await Groups.RollAsync("web", rounds: 2);
        await CreateAsync(count: 2);
        await LookAsync();

        Assert.Equal(told ? 2 : 0, View.Instances.Count(instance => instance.IsEvicted));
        Assert.Equal(told ? GroupConditions.GangWaitsForRoom : GroupConditions.GangDoesNotFit, Progress().Reason);
    }

    public enum End
    {
        Deleted,
        Scaled,
        Changed,
        NoGang,
    }

    [Theory]
    [InlineData(End.Deleted, 0)]
    [InlineData(End.Scaled, 1)]
    [InlineData(End.Changed, 0)]
    [InlineData(End.NoGang, 0)]
    public async Task What_is_kept_for_it_is_given_up_when_it_is_wanted_otherwise(End end, int left)
    {
        Term = new(Compare.Absent("nothing"));
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b")];
        await FillAsync(nodes[..1], 0);
        await CreateAsync(count: 2);
        await LookAsync();
        var kept = Kept();
        Assert.Equal(2, kept.Count);

        switch (end)
        {
            case End.Deleted:
                await Groups.Api.Updates.DeleteAsync(new() { Group = "gang" }, Token);
                break;
            case End.Scaled:
                await Groups.Api.Updates.ScaleAsync(new() { Group = "gang", Count = 1 }, Token);
                break;
            default:
                var entry = await Groups.EntryAsync("gang");
                var record = entry.Record.Clone();
                record.Spec.Gang = end != End.NoGang;
                record.Spec.Template.Spec.Resources.MemoryBytes = 8L << 30;
                await Plane.PutAsync(Keys.GroupSpec(entry.Uid), record, Token);
                break;
        }

        await LookAsync();

        // Of one that fits now there is a member, where it was free.
        Assert.Empty(Term.Fleet.Ledger.Claims);
        Assert.Equal(left, View.Instances.Count(instance => instance.GroupUid is not null && instance.NodeId == nodes[1]));
    }

    [Fact]
    public async Task When_those_who_leave_cannot_be_told_what_was_kept_is_given_up()
    {
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b")];
        await FillAsync(nodes[..1], 0);
        await CreateAsync(count: 2);
        await Plane.ViewAsync(Token);

        // Whatever the write compares and finds otherwise.
        var (stale, uid) = (new LeaderTerm(Compare.Modified("leaders/controllers", 12345)), Group().Uid);
        await Plane.Groups.ReconcileAsync(stale, uid, new(Plane.Time), Token);

        Assert.Empty(stale.Fleet.Ledger.Claims);
        Assert.DoesNotContain((await Plane.ViewAsync(Token)).Instances, instance => instance.IsEvicted);
        await LookAsync();
        Assert.Single(View.Instances, instance => instance.IsEvicted);
    }

    /// <summary>Protects: what was told so far is all that is ever told for it.</summary>
    [Fact]
    public async Task Neither_a_new_leader_nor_one_whose_patience_ended_has_anybody_else_leave()
    {
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b"), await NodeAsync("c")];
        await FillAsync(nodes, 0);
        await CreateAsync(count: 2);
        await LookAsync();
        var told = Evicted();
        Assert.Equal(2, told.Count);

        await ChangeLeaderAsync();
        await LookAsync();
        Assert.Equal(told, Evicted());
        Assert.Equal("What leaves already leaves nodes 'a', 'b' to make room for 2 members that need a node at once.", Progress().Message);
        var first = Kept();
        Assert.Equal(2, first.Count);

        // A leadership that time does not end.
        Term = Term with { Guard = Compare.Absent("nothing") };
        Plane.Time.Advance(Limits.Control.ClaimPatience + TimeSpan.FromMinutes(1));
        await PassAsync();
        Assert.Empty(Term.Fleet.Ledger.Claims);
        await LookAsync();
        Assert.Equal(told, Evicted());
        Assert.Equal(first, Kept());

        List<string> Evicted() => [.. View.Instances.Where(instance => instance.IsEvicted).Select(instance => instance.Id.Value)];
    }

    /// <summary>Protects: who is more important does not wait for what is kept for a gang until the rest of its room is made.</summary>
    [Fact]
    public async Task A_higher_priority_has_the_places_that_are_kept_and_free_and_the_gang_looks_for_others()
    {
        Term = new(Compare.Absent("nothing"));
        NodeId[] nodes = [await NodeAsync("a"), await NodeAsync("b")];
        var low = (await FillAsync(nodes[..1], 0))[0];
        await CreateAsync(count: 2);
        await LookAsync();
        var critical = await Plane.PendingAsync("critical", Token, memoryBytes: Size, change: record => record.Spec.Constraints = new() { Priority = 1000 });
        await PassAsync();
        await PassAsync();

        Assert.Equal(nodes[1], View.Instance(critical)!.NodeId);

        // Of what is not whole nothing is kept, also while it is not its turn.
        await Plane.PendingAsync("huge", Token, memoryBytes: 8 * Size, change: record => record.Spec.Constraints = new() { Priority = 1000 });
        await LookLaterAsync();
        Assert.Empty(Term.Fleet.Ledger.Claims);
        await PassAsync();
        await LookLaterAsync();
        Assert.Equal(GroupConditions.GangDoesNotFit, Progress().Reason);
        Assert.Empty(Term.Fleet.Ledger.Claims);

        await NodeAsync("c");
        await LookLaterAsync();
        await LeavesAsync(nodes[0], low);
        await LookLaterAsync();
        Assert.Equal(["a", "c"], (await Groups.MembersAsync("gang")).Select(member => member.Node!.Name).Order());
        AssertFits(nodes);
    }

    /// <summary>Protects: the store is not asked to do more at once than it can, and one group has no fleet of others leave.</summary>
    [Theory]
    [InlineData(10, 100, true)]
    [InlineData(11, 91, false)]
    public async Task Only_so_many_make_room_for_one_gang(int count, int each, bool told)
    {
        foreach (var node in Enumerable.Range(0, count))
        {
            var id = await Plane.ReadyNodeAsync($"n{node}", Token, memoryBytes: (long)each << 20);
            for (var number = 0; number < each; number++)
            {
                await Plane.PlaceAsync(await Plane.PendingAsync($"low-{node}-{number}", Token, memoryBytes: 1 << 20, change: record => record.Spec.Resources.CpuMillicores = 10), id, Token);
            }
        }

        await CreateAsync(count, (long)each << 20);
        await LookAsync();

        Assert.Equal(told ? count * each : 0, View.Instances.Count(instance => instance.IsEvicted));
        Assert.Equal(told ? count : 0, Term.Fleet.Ledger.Claims.Count);
        Assert.Contains(told ? "1000 instances leave nodes 'n0', 'n1'" : "more than 1000 instances of a lower priority would have to leave.", Progress().Message, StringComparison.Ordinal);
    }

    private Task<Group> CreateAsync(int count, long memoryBytes = Size) => Groups.CreateAsync("gang", count, spec =>
    {
        spec.Gang = true;
        spec.Template.Spec.Resources.MemoryBytes = memoryBytes;
        spec.Template.Spec.Constraints = new() { Priority = 10 };
    });

    /// <summary>With room for one that fills it.</summary>
    private Task<NodeId> NodeAsync(string name) => Plane.ReadyNodeAsync(name, Token, memoryBytes: Size);

    private async Task<List<InstanceId>> FillAsync(IReadOnlyList<NodeId> nodes, int priority)
    {
        var ids = new List<InstanceId>();
        foreach (var node in nodes)
        {
            ids.Add(await Plane.PendingAsync(
                $"on-{View.Node(node)!.Name}", Token, memoryBytes: Size, change: record => record.Spec.Constraints = new() { Priority = priority }));
            await Plane.PlaceAsync(ids[^1], node, Token);
        }

        return ids;
    }

    private async Task LookAsync()
    {
        await Groups.ReconcileAsync("gang");
        await Plane.ViewAsync(Token);
    }

    private Task LookLaterAsync()
    {
        Plane.Time.Advance(Limits.Groups.GangPause);
        return LookAsync();
    }

    /// <summary>Ids of those for whom a place is kept.</summary>
    private List<string> Kept() => [.. Term.Fleet.Ledger.Claims.Select(claim => claim.Instance.Value).Order(StringComparer.Ordinal)];

    private async Task<int> CountAsync() => (await Groups.MembersAsync("gang")).Count;

    private GroupEntry Group() => View.GroupByName("default", "gang")!;

    private Condition Progress() => Group().StatusRecord!.Conditions.Single(condition => condition.Type == GroupConditions.Progressing);

    /// <summary>CapacitySafe, counted anew.</summary>
    private void AssertFits(IEnumerable<NodeId> nodes) => Assert.All(nodes, node => Assert.InRange(
        View.Instances.Where(instance => instance.NodeId == node).Sum(instance => instance.PlacementRecord!.Reserved.MemoryBytes), 0, Size));
}
