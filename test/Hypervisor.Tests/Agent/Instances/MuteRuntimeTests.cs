using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>
/// Protects: a runtime that does not answer is a matter of its own instances. Those of the others are compared, started and told of as
/// ever, and nothing is concluded about its own (NoGhostKill).
/// </summary>
public sealed class MuteRuntimeTests : IDisposable
{
    private readonly AgentWorld _world = new AgentWorld().WithVms();

    /// <summary>A stopped libvirtd accepts the connection and says nothing, so that every call ends by its deadline only.</summary>
    public MuteRuntimeTests()
    {
        foreach (var method in new[] { "ListAsync", "GetAsync", "CreateAsync" })
        {
            _world.VmDriver.Delay(method, TimeSpan.FromDays(1));
        }
    }

    [Fact]
    public void Instances_of_other_types_are_compared_with_what_their_runtime_holds()
    {
        _world.Driver.FailAlways("WatchAsync", new DriverException("RuntimeUnavailable", "no events", permanent: false));
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = 1 });
        _world.Advance(TimeSpan.FromSeconds(35));

        Assert.Equal(InstanceState.Failed, _world.Status("a").State);
    }

    [Fact]
    public void A_new_instance_of_another_type_is_started_without_asking_anybody()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));

        Assert.Equal(["create a", "start a"], _world.Effects);
        Assert.InRange(_world.Driver.Calls(nameof(IInstanceDriver.GetAsync)), 0, 1);
    }

    [Fact]
    public void Any_number_of_its_starts_holds_back_no_start_of_another_runtime()
    {
        _world.VmDriver.Delay("ListAsync", TimeSpan.Zero);
        _world.Boot().Sync();
        for (var i = 0; i < Hypervisor.Agent.Limits.ConcurrentStarts; i++)
        {
            _world.Put(Vm($"vm{i}"));
        }

        _world.Put(AgentWorld.Assignment("a"));

        Assert.Equal(Hypervisor.Agent.Limits.ConcurrentStarts, _world.VmDriver.Calls("CreateAsync"));
        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    [Fact]
    public void What_it_holds_is_neither_taken_for_gone_nor_touched()
    {
        _world.Vms!.Plant(AgentWorld.Running("vm"));
        _world.Vms.Plant(AgentWorld.Running("foreign"));
        _world.Effects.Clear();
        _world.Boot();
        _world.Put(Vm("vm"));
        _world.Sync();
        _world.Advance(TimeSpan.FromMinutes(2));

        Assert.Empty(_world.Effects);
        Assert.Equal((InstanceState.Starting, "Timeout"), (_world.Status("vm").State, _world.Status("vm").Reason));
        Assert.Equal([InstanceType.Unspecified, InstanceType.Vm], _world.ControlPlane.UnansweredTypes!);
    }

    [Fact]
    public void What_nobody_names_is_told_as_soon_as_its_own_runtime_has_answered()
    {
        _world.Machine.Plant(AgentWorld.Running("ghost"));
        _world.Vms!.Plant(AgentWorld.Running("shade"));
        _world.Boot().Sync();
        Assert.Equal("ghost", Assert.Single(_world.ControlPlane.Unclaimed!).Uid);
        Assert.Equal([InstanceType.Unspecified, InstanceType.Vm], _world.ControlPlane.UnansweredTypes!);

        _world.VmDriver.Delay("ListAsync", TimeSpan.Zero);
        _world.Advance(TimeSpan.FromSeconds(45));
        Assert.Equal(["ghost", "shade"], _world.ControlPlane.Unclaimed!.Select(instance => instance.Uid).Order());
        Assert.Empty(_world.ControlPlane.UnansweredTypes!);

        // Mute again: what it said last still counts.
        _world.VmDriver.Delay("ListAsync", TimeSpan.FromDays(1));
        _world.Machine.Remove(AgentWorld.Id("ghost"), new(1));
        _world.Advance(TimeSpan.FromSeconds(90));
        Assert.Equal("shade", Assert.Single(_world.ControlPlane.Unclaimed!).Uid);
    }

    public void Dispose() => _world.Dispose();

    private static Assignment Vm(string name)
    {
        var assignment = AgentWorld.Assignment(name);
        assignment.Spec.Type = InstanceType.Vm;
        return assignment;
    }
}
