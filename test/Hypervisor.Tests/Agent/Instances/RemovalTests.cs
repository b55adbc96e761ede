using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: only a removal or a newer epoch takes a copy away, whole, and no older word touches it (EpochMonotonic, NoOrphans, NoGhostKill).</summary>
public sealed class RemovalTests : IDisposable
{
    private readonly AgentWorld _world = new();

    [Fact]
    public void A_removal_leaves_the_network_of_a_later_placement_and_is_complete()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a", epoch: 5));
        _world.Machine.AttachedUnder[AgentWorld.Id("a").Value] = new Epoch(6);

        _world.Remove("a", 5);

        Assert.Empty(_world.Machine.Instances);
        Assert.Single(_world.Machine.Attachments);
        Assert.Equal(["a@5"], _world.ControlPlane.Removed);
    }

    [Fact]
    public void A_removal_leaves_nothing_and_is_acknowledged_each_time_it_is_asked_for()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Remove("a", 1);

        Assert.Empty(_world.Machine.Instances);
        Assert.Empty(_world.Machine.Attachments);
        Assert.Equal(["a@1"], _world.ControlPlane.Removed);

        _world.Remove("a", 1);
        Assert.Equal(["a@1", "a@1"], _world.ControlPlane.Removed);
        Assert.Empty(_world.ControlPlane.Unclaimed!);
    }

    [Fact]
    public void A_removal_of_an_older_epoch_does_not_touch_the_newer_one()
    {
        _world.Machine.Plant(AgentWorld.Running("a", epoch: 5));
        _world.Boot().Sync();
        _world.Remove("a", 4);

        Assert.Equal(DriverState.Running, _world.Machine.Find(AgentWorld.Id("a"))!.State);
        Assert.Equal(["a@4"], _world.ControlPlane.Removed);
    }

    [Fact]
    public void A_removal_waits_for_a_mute_runtime_and_is_acknowledged_only_then()
    {
        _world.Machine.Plant(AgentWorld.Running("a"));
        _world.Boot().Sync();
        _world.Driver.FailAlways("RemoveAsync", new DriverException("RuntimeUnavailable", "mute", permanent: false));
        _world.Remove("a", 1);
        _world.Advance(TimeSpan.FromSeconds(20));
        Assert.Empty(_world.ControlPlane.Removed);

        _world.Driver.Heal("RemoveAsync");
        _world.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(["a@1"], _world.ControlPlane.Removed);
        Assert.Empty(_world.Machine.Instances);
    }

    [Fact]
    public void A_removal_does_not_wait_for_a_slow_image()
    {
        _world.Boot().Sync();
        _world.Images.Delay("EnsureAsync", TimeSpan.FromMinutes(10));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Advance(TimeSpan.FromSeconds(1));
        _world.Remove("a", 1);

        Assert.Equal(["a@1"], _world.ControlPlane.Removed);
        Assert.Empty(_world.Machine.Attachments);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_lower_epoch_is_refused(bool afterRemoval)
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a", epoch: 5));
        if (afterRemoval)
        {
            _world.Remove("a", 5);
        }

        _world.Effects.Clear();
        _world.Put(AgentWorld.Assignment("a", epoch: 4, state: DesiredState.Stopped));
        _world.Advance(TimeSpan.FromSeconds(40));

        Assert.Empty(_world.Effects);
    }

    [Fact]
    public void A_higher_epoch_replaces_the_copy_of_a_lower_one()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a", epoch: 1));
        _world.Put(AgentWorld.Assignment("a", epoch: 2));

        Assert.Equal(["create a", "start a", "remove a", "create a", "start a"], _world.Effects);
        Assert.Equal((InstanceState.Running, 2), (_world.Status("a").State, _world.Status("a").ObservedEpoch));
    }

    public void Dispose() => _world.Dispose();
}
