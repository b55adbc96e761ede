using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>
/// Protects: whatever happens in whatever order to a small fleet on which gangs and instances of all priorities contend, no node ever holds more than it has,
/// gangs come as a whole, and in the end nothing is kept for anybody.
/// </summary>
public sealed class GangHistoryTests : EvictionScene
{
    private const long Unit = 64 << 20;
    private const int UnitsPerNode = 4;
    private const int Steps = 120;

    private readonly List<NodeId> _nodes = [];
    private readonly List<string> _gangs = [];
    private GroupWorld _groups = null!;
    private int _asked;

    public static TheoryData<int> Seeds() => [.. Enumerable.Range(1, 24)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Every_history_keeps_to_what_nodes_have_and_to_all_or_none(int seed)
    {
        var random = new Random(seed);
        Lead();
        for (var number = 0; number < 4; number++)
        {
            _nodes.Add(await Plane.ReadyNodeAsync($"n{number}", Token, memoryBytes: UnitsPerNode * Unit));
        }

        for (var step = 0; step < Steps; step++)
        {
            await StepAsync(random, random.Next(100));
            AssertFits();
        }

        // Nobody asks any more: all who leave are gone after a while, and all who can be placed are.
        for (var round = 0; round < 200 && (Term.Fleet.Ledger.Claims.Count > 0 || View.Instances.Any(IsLeaving)); round++)
        {
            await LeaveAsync(random);
            await PassAsync();
            Plane.Time.Advance(Limits.Groups.GangPause);
            foreach (var gang in _gangs)
            {
                await LookAsync(gang);
            }

            AssertFits();
        }

        Assert.Empty(Term.Fleet.Ledger.Claims);
        Assert.DoesNotContain(View.Instances, IsLeaving);
    }

    private static bool IsLeaving(InstanceEntry instance) => instance.NodeId is not null && (instance.IsEvicted || instance.Deleting);

    private async Task StepAsync(Random random, int kind)
    {
        switch (kind)
        {
            case < 25:
                await Plane.PendingAsync(
                    $"i{_asked++}", Token, memoryBytes: random.Next(1, UnitsPerNode + 1) * Unit, change: record => record.Spec.Constraints = new() { Priority = random.Next(4) * 10 });
                break;
            case < 33:
                _gangs.Add($"g{_asked++}");
                await _groups.CreateAsync(_gangs[^1], random.Next(2, 6), spec =>
                {
                    spec.Gang = true;
                    spec.Template.Spec.Resources.MemoryBytes = random.Next(1, UnitsPerNode + 1) * Unit;
                    spec.Template.Spec.Constraints = new() { Priority = random.Next(4) * 10 };
                });
                break;
            case < 60 when _gangs.Count > 0:
                Plane.Time.Advance(Limits.Groups.GangPause / 2 * random.Next(4));
                await LookAsync(_gangs[random.Next(_gangs.Count)]);
                break;
            case < 75:
                await PassAsync();
                break;
            case < 90:
                await LeaveAsync(random);
                break;
            case < 94 when View.Instances.Where(instance => instance.GroupUid is null && !instance.Deleting).ToList() is { Count: > 0 } present:
                await Plane.DeleteAsync(present[random.Next(present.Count)].Id, Token);
                break;
            case < 97 when _gangs.Count > 0:
                var gang = _gangs[random.Next(_gangs.Count)];
                _gangs.Remove(gang);
                await _groups.Api.Updates.DeleteAsync(new() { Group = gang }, Token);
                await LookAsync(gang);
                break;
            case 98:
                Plane.Time.Advance(Limits.Control.ClaimPatience * 2);
                break;
            case 99:
                Lead();
                break;
            default:
                break;
        }
    }

    /// <summary>Nothing of what was known before is.</summary>
    private void Lead()
    {
        Term = new(Compare.Absent("nothing"));
        _groups = GroupWorld.Over(Plane, Term);
    }

    /// <summary>The node of one that is to go has nothing left of it.</summary>
    private async Task LeaveAsync(Random random)
    {
        var leaving = (await Plane.ViewAsync(Token)).Instances.Where(IsLeaving).ToList();
        if (leaving.Count > 0)
        {
            var (id, node) = leaving[random.Next(leaving.Count)] switch { var one => (one.Id, one.NodeId!.Value) };
            await ReportAsync(node, id, InstanceState.Stopped);
            await RemovedAsync(node, id);
        }
    }

    private async Task LookAsync(string gang)
    {
        var before = await Plane.ViewAsync(Token);
        await _groups.ReconcileAsync(gang);
        var after = await Plane.ViewAsync(Token);
        if (after.GroupByName("default", gang) is not { Deleting: false } group)
        {
            return;
        }

        var (had, has) = (MembersIn(before, group), MembersIn(after, group));
        Assert.True(has == had || has == group.Spec.Count, $"{gang} had {had} members and has {has} of {group.Spec.Count}.");

        // Whom it has leave, that leaves for all of it.
        var told = after.Instances.Count(instance => instance.Eviction?.ForUid == group.Uid) > before.Instances.Count(instance => instance.Eviction?.ForUid == group.Uid);
        Assert.True(!told || Term.Gangs.Find(group.Uid)!.Members.All(id => Term.Fleet.Ledger.ClaimOf(id) is not null), $"Some leave for {gang}, and not for all of it.");
        Assert.Equal(group.Spec.Count, has + (Term.Gangs.Find(group.Uid)?.Members.Count ?? 0));
    }

    private static int MembersIn(ClusterView view, GroupEntry group) => view.MembersOf(group).Count(member => !member.Deleting);

    /// <summary>CapacitySafe, counted anew.</summary>
    private void AssertFits() => Assert.All(_nodes, node => Assert.InRange(
        View.Instances.Where(instance => instance.NodeId == node).Sum(instance => instance.PlacementRecord!.Reserved.MemoryBytes), 0, UnitsPerNode * Unit));
}
