using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: a node stays known to its control plane, and what it tells of itself is so.</summary>
public sealed class NodeAgentTests : IDisposable
{
    private readonly AgentWorld _world = new();

    [Fact]
    public void It_registers_with_its_machine_and_every_type_says_what_it_lacks()
    {
        _world.Boot();

        var request = Assert.Single(_world.ControlPlane.Registrations);
        Assert.Equal(("node-1", "", 4000), (request.Name, request.Credential, request.Inventory.Capacity.CpuMillicores));
        Assert.Equal(2, Assert.Single(request.Inventory.Capacity.Devices, device => device.Key == "gpu").Value);
        var runtimes = request.Inventory.Runtimes.ToDictionary(runtime => runtime.Type);
        Assert.True(runtimes[InstanceType.Container].Available);
        Assert.False(runtimes[InstanceType.Vm].Available);
        Assert.Equal(3, runtimes.Count);
    }

    [Fact]
    public void After_a_restart_it_presents_its_credential_and_what_it_has_seen()
    {
        _world.Boot();
        _world.Send(new AssignmentEvent { ResourceVersion = 77, Put = AgentWorld.Assignment("a", epoch: 9) });
        _world.Kill();
        _world.Boot();

        var request = _world.ControlPlane.Registrations[^1];
        Assert.Equal(("secret", 9L, 77L), (request.Credential, request.HighestEpoch, request.HighestResourceVersion));
    }

    [Fact]
    public void Killed_before_it_saved_the_answer_it_registers_as_the_same()
    {
        _world.ControlPlane.GoAway();
        _world.Boot();
        var first = _world.ControlPlane.Registrations[0];
        Assert.Equal(first.RegistrationId, _world.Identity.Load().RegistrationId);
        Assert.Equal(64, first.RegistrationId.Length);
        _world.Kill();
        _world.ControlPlane.ComeBack();
        _world.Boot();

        var again = _world.ControlPlane.Registrations[^1];
        Assert.Equal((first.RegistrationId, ""), (again.RegistrationId, again.Credential));
        Assert.DoesNotContain(first.RegistrationId, _world.Identity.Load().ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_server_that_is_not_there_yet_is_waited_for()
    {
        _world.ControlPlane.GoAway();
        _world.Boot();
        _world.Advance(TimeSpan.FromSeconds(30));
        _world.ControlPlane.ComeBack();
        _world.Advance(TimeSpan.FromSeconds(3));

        Assert.InRange(_world.ControlPlane.Registrations.Count, 10, 60);
        Assert.True(_world.ControlPlane.Beats > 0);
    }

    [Fact]
    public void A_beat_goes_out_each_interval_and_the_deadline_moves_with_it()
    {
        _world.Boot();
        _world.Advance(TimeSpan.FromSeconds(10.5));

        Assert.Equal(11, _world.ControlPlane.Beats);
        Assert.Equal(TimeSpan.FromSeconds(14), _world.Heartbeats!.StopBy(TimeSpan.FromSeconds(1), TimeSpan.Zero));
    }

    [Fact]
    public void Beats_that_nobody_answers_make_it_connect_anew_and_do_not_extend_its_lease()
    {
        _world.Boot();
        _world.Advance(TimeSpan.FromSeconds(3.5));
        var before = _world.Heartbeats!.StopBy(TimeSpan.Zero, TimeSpan.Zero);
        _world.ControlPlane.AnswersBeats = false;
        _world.Advance(TimeSpan.FromSeconds(20));
        Assert.Equal(before, _world.Heartbeats.StopBy(TimeSpan.Zero, TimeSpan.Zero));

        _world.ControlPlane.AnswersBeats = true;
        _world.Advance(TimeSpan.FromSeconds(5));
        Assert.True(_world.Heartbeats.StopBy(TimeSpan.Zero, TimeSpan.Zero) > before);
    }

    [Fact]
    public void A_runtime_that_comes_later_is_registered()
    {
        _world.Driver.FailAlways("ProbeAsync", new DriverException("Unavailable", "containerd does not answer", permanent: false));
        _world.Boot();
        Assert.DoesNotContain(_world.ControlPlane.Registrations[0].Inventory.Runtimes, runtime => runtime.Available);

        _world.Driver.Heal("ProbeAsync");
        _world.Advance(TimeSpan.FromSeconds(32));
        Assert.Equal(2, _world.ControlPlane.Registrations.Count);
        Assert.Contains(_world.ControlPlane.Registrations[1].Inventory.Runtimes, runtime => runtime.Available);
    }

    [Fact]
    public void Versions_seen_are_not_written_with_each_change()
    {
        _world.Boot();
        var before = _world.Identity.Saves;
        for (var version = 1; version <= 500; version++)
        {
            _world.Send(new AssignmentEvent { ResourceVersion = version, Put = AgentWorld.Assignment("a", generation: version) });
        }

        _world.Advance(TimeSpan.FromSeconds(25));
        Assert.InRange(_world.Identity.Saves - before, 1, 3);
        Assert.Equal(500, _world.Identity.Load().HighestResourceVersion);
    }

    [Fact]
    public void An_assignment_stream_is_opened_anew_although_nothing_seems_wrong()
    {
        _world.Boot().Sync();
        _world.Advance(TimeSpan.FromMinutes(11));

        Assert.Equal(2, _world.ControlPlane.Streams);
    }

    [Fact]
    public void The_network_is_looked_after_once_per_interval_and_at_once_when_the_kernel_hints()
    {
        _world.Boot().Sync();
        Assert.Equal(1, _world.Network.Calls("EnsureAsync"));
        _world.Advance(TimeSpan.FromSeconds(91));
        Assert.Equal(4, _world.Network.Calls("EnsureAsync"));

        _world.HintNetwork();
        _world.Settle();
        Assert.Equal(5, _world.Network.Calls("EnsureAsync"));
        _world.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(5, _world.Network.Calls("EnsureAsync"));
    }

    [Fact]
    public void A_network_whose_changes_cannot_be_watched_is_still_looked_after()
    {
        _world.Network.FailAlways("WaitForChangeAsync", new DriverException("NetworkError", "deaf", permanent: false));
        _world.Boot().Sync();
        _world.Advance(TimeSpan.FromSeconds(91));

        Assert.Equal(4, _world.Network.Calls("EnsureAsync"));
    }

    public void Dispose() => _world.Dispose();
}
