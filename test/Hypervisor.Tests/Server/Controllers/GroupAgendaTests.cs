using Hypervisor.Protocol;
using Hypervisor.Server;
using Hypervisor.Server.Controllers.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: a gang is looked at soon after there may be room for it, and not all the time.</summary>
public sealed class GroupAgendaTests : EvictionScene
{
    public enum Change
    {
        NodeComes,
        InstanceGoes,
        InstanceShrinks,
        InstanceReports,
    }

    [Theory]
    [InlineData(Change.NodeComes, true)]
    [InlineData(Change.InstanceGoes, true)]
    [InlineData(Change.InstanceShrinks, true)]
    [InlineData(Change.InstanceReports, false)]
    public async Task What_may_have_left_room_brings_those_back_that_wait_for_it_once_in_a_while(Change change, bool due)
    {
        var node = await Plane.ReadyNodeAsync("a", Token);
        var instance = await Plane.PlacedAsync("i", node, Token);
        var agenda = new GroupAgenda(Plane.Time);
        agenda.Take("waits", new GroupPass(Limits.Control.ReconcilePeriod, WaitsForRoom: true));
        agenda.Take("other", new GroupPass(Limits.Control.ReconcilePeriod));
        using var changes = Plane.State.Subscribe((await Plane.ViewAsync(Token)).Revision);

        await HappenAsync(change, node, instance);
        Take(agenda, changes);
        Plane.Time.Advance(Limits.Groups.GangPause / 2);
        if (due)
        {
            // What happens again within a pause does not put it off.
            await Plane.ReadyNodeAsync("b", Token);
            Take(agenda, changes);
        }

        Assert.Empty(agenda.TakeDue());
        Plane.Time.Advance(Limits.Groups.GangPause / 2);
        Assert.Equal(due ? ["waits"] : [], agenda.TakeDue());
        Assert.Empty(agenda.TakeDue());
    }

    private static void Take(GroupAgenda agenda, ChangeSubscription changes)
    {
        for (var read = changes.Read(); read.Kind == FeedReadKind.Change; read = changes.Read())
        {
            agenda.Take(read.Change!);
        }
    }

    private async Task HappenAsync(Change change, NodeId node, InstanceId instance)
    {
        switch (change)
        {
            case Change.NodeComes:
                await Plane.ReadyNodeAsync("more", Token);
                break;
            case Change.InstanceGoes:
                await Plane.DeleteAsync(instance, Token);
                await RemovedAsync(node, instance);
                break;
            case Change.InstanceShrinks:
                var smaller = View.Instance(instance)!.PlacementRecord!.Clone();
                smaller.Reserved.MemoryBytes /= 2;
                await Plane.PutAsync(Keys.Placement(instance), smaller, Token);
                break;
            default:
                await ReportAsync(node, instance, Hypervisor.Protocol.V1.InstanceState.Running);
                break;
        }
    }
}
