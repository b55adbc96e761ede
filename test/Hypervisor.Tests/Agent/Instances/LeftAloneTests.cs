using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what an agent does not know of or cannot see runs on, and is told of (NoGhostKill, SingleWriter).</summary>
public sealed class LeftAloneTests : IDisposable
{
    private readonly AgentWorld _world = new();

    [Fact]
    public void A_restarted_agent_takes_over_what_runs_and_restarts_nothing()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        var process = _world.Machine.Find(AgentWorld.Id("a"))!.ProcessId;
        _world.Kill();
        _world.ControlPlane.Statuses.Clear();

        _world.Boot();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Sync();

        Assert.Equal(["create a", "start a"], _world.Effects);
        Assert.Equal(process, _world.Machine.Find(AgentWorld.Id("a"))!.ProcessId);
        Assert.Equal((InstanceState.Running, "10.64.0.2"), (_world.Status("a").State, _world.Status("a").IpAddresses.Single()));
    }

    /// <summary>kubevirt #18763: an agent restarted with an empty cache took "I see nothing" for "nothing should be here".</summary>
    [Fact]
    public void A_restarted_agent_with_a_mute_runtime_and_no_assignments_destroys_nothing()
    {
        _world.Machine.Plant(AgentWorld.Running("a"));
        foreach (var method in new[] { "ListAsync", "GetAsync", "WatchAsync" })
        {
            _world.Driver.FailAlways(method, new DriverException("RuntimeUnavailable", "mute", permanent: false));
        }

        _world.Boot().Sync();
        _world.Advance(TimeSpan.FromSeconds(60));
        Assert.Null(_world.ControlPlane.Unclaimed);

        _world.Driver.Heal("ListAsync");
        _world.Driver.Heal("GetAsync");
        _world.Driver.Heal("WatchAsync");
        _world.Advance(TimeSpan.FromSeconds(60));

        Assert.Equal(DriverState.Running, _world.Machine.Find(AgentWorld.Id("a"))!.State);
        Assert.Empty(_world.Effects);
        Assert.Equal(("a", 1), (_world.ControlPlane.Unclaimed!.Single().Uid, _world.ControlPlane.Unclaimed!.Single().Epoch));
    }

    [Fact]
    public void A_mute_runtime_is_not_taken_for_an_empty_one_when_an_assignment_comes()
    {
        _world.Machine.Plant(AgentWorld.Running("a"));
        _world.Driver.FailAlways("ListAsync", new DriverException("RuntimeUnavailable", "mute", permanent: false));
        _world.Driver.FailAlways("GetAsync", new DriverException("RuntimeUnavailable", "mute", permanent: false));
        _world.Boot();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Sync();
        _world.Advance(TimeSpan.FromSeconds(10));
        Assert.Empty(_world.Effects);
        Assert.Equal("RuntimeUnavailable", _world.Status("a").Reason);

        _world.Driver.Heal("GetAsync");
        _world.Advance(TimeSpan.FromSeconds(31));

        Assert.Empty(_world.Effects);
        Assert.Equal((InstanceState.Running, ""), (_world.Status("a").State, _world.Status("a").Reason));
    }

    [Fact]
    public void What_nobody_names_is_reported_only_after_the_snapshot_is_complete_and_never_touched()
    {
        _world.Machine.Plant(AgentWorld.Running("ghost"));
        _world.Boot();
        _world.Put(AgentWorld.Assignment("a"));
        Assert.Null(_world.ControlPlane.Unclaimed);

        _world.Sync();
        Assert.Equal("ghost", _world.ControlPlane.Unclaimed!.Single().Uid);

        // Adopted: an assignment names it.
        _world.Put(AgentWorld.Assignment("ghost"));
        _world.Advance(TimeSpan.FromSeconds(31));
        Assert.Empty(_world.ControlPlane.Unclaimed!);
        Assert.DoesNotContain("remove ghost", _world.Effects);
        Assert.DoesNotContain("start ghost", _world.Effects);
    }

    [Fact]
    public void What_nobody_names_is_told_with_what_it_was_made_from_and_adopted_without_a_new_process()
    {
        _world.Boot().Sync();
        var assignment = AgentWorld.Assignment("a", epoch: 5);
        assignment.Labels["tier"] = "front";
        _world.Put(assignment);
        var process = _world.Machine.Find(AgentWorld.Id("a"))!.ProcessId;

        // The store was lost, and with it every assignment.
        _world.ControlPlane.Disconnect();
        _world.Advance(TimeSpan.FromSeconds(3));
        _world.Sync();
        _world.Advance(TimeSpan.FromSeconds(60));
        var told = _world.ControlPlane.Unclaimed!.Single();
        Assert.Equal((InstanceState.Running, 5), (told.State, told.Epoch));
        Assert.Equal(assignment.Spec, told.Spec);
        Assert.Equal("front", told.Labels["tier"]);

        var adopted = assignment.Clone();
        (adopted.Epoch, adopted.FirstEpoch) = (6, 5);
        _world.Put(adopted);

        Assert.Equal(["create a", "start a", "raise a"], _world.Effects);
        Assert.Equal((process, new Epoch(6)), (_world.Machine.Find(AgentWorld.Id("a"))!.ProcessId, _world.Machine.Find(AgentWorld.Id("a"))!.Epoch));
        Assert.Equal((InstanceState.Running, 6), (_world.Status("a").State, _world.Status("a").ObservedEpoch));
        Assert.Equal(new Epoch(6), _world.Machine.AttachedUnder[AgentWorld.Id("a").Value]);
        Assert.Empty(_world.ControlPlane.Unclaimed!);
    }

    [Fact]
    public void An_instance_that_a_new_snapshot_does_not_name_is_left_running_and_reported()
    {
        _world.Boot();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Sync();
        _world.ControlPlane.Disconnect();
        _world.Advance(TimeSpan.FromSeconds(3));
        _world.Sync();
        _world.Advance(TimeSpan.FromSeconds(60));

        Assert.Equal(DriverState.Running, _world.Machine.Find(AgentWorld.Id("a"))!.State);
        Assert.Equal("a", _world.ControlPlane.Unclaimed!.Single().Uid);
    }

    public void Dispose() => _world.Dispose();
}
