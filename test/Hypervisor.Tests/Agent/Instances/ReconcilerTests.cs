using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what is assigned comes to be, on one node (SingleWriter, EpochMonotonic, Converges).</summary>
public sealed class ReconcilerTests : IDisposable
{
    private readonly AgentWorld _world = new();

    [Fact]
    public void An_assignment_becomes_a_running_instance_with_an_address_in_one_report()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));

        Assert.Equal(["create a", "start a"], _world.Effects);
        var status = _world.Status("a");
        Assert.Equal((InstanceState.Running, 1, 1), (status.State, status.ObservedGeneration, status.ObservedEpoch));
        Assert.Equal("10.64.0.2", Assert.Single(status.IpAddresses));
        Assert.Equal(ConditionStatus.True, Assert.Single(status.Conditions).Status);
        Assert.Single(_world.ControlPlane.Reports, report => report.Reports.Count > 0);

        // Nothing is asked of the runtime on the way; the hint of the start itself is looked into afterwards.
        Assert.InRange(_world.Driver.Calls(nameof(IInstanceDriver.GetAsync)), 0, 1);
    }

    [Fact]
    public void A_start_that_takes_time_is_shown_as_starting()
    {
        _world.Boot().Sync();
        _world.Images.Delay("EnsureAsync", TimeSpan.FromSeconds(2));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Advance(TimeSpan.FromSeconds(1));

        Assert.Equal((InstanceState.Starting, 0), (_world.Status("a").State, _world.Status("a").ObservedGeneration));

        _world.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    [Fact]
    public void Image_and_network_are_prepared_at_the_same_time()
    {
        _world.Boot().Sync();
        _world.Images.Delay("EnsureAsync", TimeSpan.FromSeconds(1));
        _world.Network.Delay("AttachAsync", TimeSpan.FromSeconds(1));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Advance(TimeSpan.FromSeconds(1.2));

        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    [Fact]
    public void A_process_that_ended_stays_ended_until_it_is_started_again()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = 3 });
        _world.Settle();
        Assert.Equal((InstanceState.Failed, "ExitCode", 3), (_world.Status("a").State, _world.Status("a").Reason, _world.Status("a").Exit.Code));
        Assert.NotNull(_world.Status("a").FinishedAt);

        // Labels were changed: the generation grows, nobody asked for a process.
        _world.Put(AgentWorld.Assignment("a", generation: 2));
        _world.Advance(TimeSpan.FromSeconds(40));
        Assert.Equal(["create a", "start a", "exit a"], _world.Effects);
        Assert.Equal((InstanceState.Failed, 2), (_world.Status("a").State, _world.Status("a").ObservedGeneration));

        _world.Put(AgentWorld.Assignment("a", generation: 3, restart: 1));
        Assert.Equal((InstanceState.Running, 3, 1), (_world.Status("a").State, _world.Status("a").ObservedGeneration, _world.Status("a").ObservedRestartGeneration));
        Assert.Equal(["create a", "start a", "exit a", "create a", "start a"], _world.Effects);
    }

    [Theory]
    [InlineData(0, 0, false, InstanceState.Stopped, "Completed")]
    [InlineData(1, 0, false, InstanceState.Failed, "ExitCode")]
    [InlineData(137, 9, false, InstanceState.Failed, "Signal")]
    [InlineData(137, 9, true, InstanceState.Failed, "OutOfMemory")]
    public void The_way_a_process_ended_is_the_reason(int code, int signal, bool outOfMemory, InstanceState state, string reason)
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = code, Signal = signal, OutOfMemory = outOfMemory });
        _world.Settle();

        Assert.Equal((state, reason), (_world.Status("a").State, _world.Status("a").Reason));
        Assert.Empty(_world.Status("a").IpAddresses);
    }

    [Fact]
    public void A_reboot_starts_again_what_should_run_and_nothing_that_had_ended()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("runs"));
        _world.Put(AgentWorld.Assignment("ended"));
        _world.Machine.Exit(AgentWorld.Id("ended"), new ExitStatus());
        _world.Kill();
        _world.Machine.Reboot();
        _world.Effects.Clear();

        _world.Boot();
        _world.Put(AgentWorld.Assignment("runs"));
        _world.Put(AgentWorld.Assignment("ended"));
        _world.Sync();

        Assert.Equal(["create runs", "start runs"], _world.Effects);
    }

    [Fact]
    public void Stop_start_pause_and_resume_are_followed()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Put(AgentWorld.Assignment("a", generation: 2, state: DesiredState.Paused));
        Assert.Equal(InstanceState.Paused, _world.Status("a").State);
        _world.Put(AgentWorld.Assignment("a", generation: 3));
        Assert.Equal(InstanceState.Running, _world.Status("a").State);
        _world.Put(AgentWorld.Assignment("a", generation: 4, state: DesiredState.Stopped));
        Assert.Equal((InstanceState.Stopped, "", 143), (_world.Status("a").State, _world.Status("a").Reason, _world.Status("a").Exit.Code));
        _world.Put(AgentWorld.Assignment("a", generation: 5, restart: 1));
        Assert.Equal((InstanceState.Running, 5), (_world.Status("a").State, _world.Status("a").ObservedGeneration));
    }

    [Fact]
    public void A_missing_image_fails_once_and_is_tried_again_only_for_another_generation()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a", image: "missing"));
        _world.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal((InstanceState.Failed, "ImageNotFound", 1), (_world.Status("a").State, _world.Status("a").Reason, _world.Status("a").ObservedGeneration));
        Assert.Equal(1, _world.Images.Calls("EnsureAsync"));

        _world.Put(AgentWorld.Assignment("a", generation: 2, image: "busybox"));
        Assert.Equal(InstanceState.Running, _world.Status("a").State);
    }

    [Fact]
    public void A_transient_failure_is_shown_and_tried_again_ever_more_slowly()
    {
        _world.Boot().Sync();
        _world.Driver.FailAlways("StartAsync", new DriverException("RuntimeBusy", "busy", permanent: false));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal((InstanceState.Starting, "RuntimeBusy"), (_world.Status("a").State, _world.Status("a").Reason));

        var early = _world.Driver.Calls("StartAsync");
        _world.Advance(TimeSpan.FromMinutes(5));
        var later = _world.Driver.Calls("StartAsync");
        Assert.InRange(early, 2, 5);
        Assert.InRange(later - early, 8, 30);

        _world.Driver.Heal("StartAsync");
        _world.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal((InstanceState.Running, ""), (_world.Status("a").State, _world.Status("a").Reason));
    }

    [Fact]
    public void A_lost_hint_is_made_up_for_by_the_periodic_comparison()
    {
        _world.Boot().Sync();
        _world.Driver.FailAlways("WatchAsync", new DriverException("RuntimeUnavailable", "no events", permanent: false));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Kill();
        _world.Boot();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Sync();
        _world.Machine.Exit(AgentWorld.Id("a"), new ExitStatus { Code = 1 });
        _world.Advance(TimeSpan.FromSeconds(35));

        Assert.Equal(InstanceState.Failed, _world.Status("a").State);
    }

    [Fact]
    public void While_the_server_is_away_everything_goes_on_and_afterwards_everything_is_told_again()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        _world.Put(AgentWorld.Assignment("b"));
        _world.ControlPlane.GoAway();
        _world.Machine.Exit(AgentWorld.Id("b"), new ExitStatus());
        _world.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal(DriverState.Running, _world.Machine.Find(AgentWorld.Id("a"))!.State);

        _world.ControlPlane.Statuses.Clear();
        _world.ControlPlane.ComeBack();
        _world.Advance(TimeSpan.FromSeconds(4));
        _world.Put(AgentWorld.Assignment("a"));
        _world.Put(AgentWorld.Assignment("b"));
        _world.Sync();

        Assert.Equal((InstanceState.Running, InstanceState.Stopped), (_world.Status("a").State, _world.Status("b").State));
        Assert.Equal(["create a", "start a", "create b", "start b", "exit b"], _world.Effects);
    }

    [Fact]
    public void Ports_that_change_reach_the_network_and_not_the_process()
    {
        _world.Boot().Sync();
        _world.Put(AgentWorld.Assignment("a"));
        var attached = _world.Network.Calls("AttachAsync");
        var changed = AgentWorld.Assignment("a", generation: 2);
        changed.Spec.Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = 8080, InstancePort = 80 } } };
        _world.Put(changed);

        Assert.Equal(attached + 1, _world.Network.Calls("AttachAsync"));
        Assert.Equal(["create a", "start a"], _world.Effects);
        Assert.Equal(2, _world.Status("a").ObservedGeneration);
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("../../etc")]
    [InlineData("6F6E65FF-0000-4000-8000-000000000000")]
    [InlineData("{6f6e65ff-0000-4000-8000-000000000000}")]
    public void What_is_not_a_uid_is_never_acted_upon(string uid)
    {
        _world.Boot().Sync();
        var assignment = AgentWorld.Assignment("a");
        assignment.Uid = uid;
        _world.ControlPlane.SendAsItIs(new AssignmentEvent { Put = assignment });
        _world.ControlPlane.SendAsItIs(new AssignmentEvent { Remove = new Removal { Uid = uid, Epoch = 7 } });
        _world.Put(AgentWorld.Assignment("after"));
        _world.Advance(TimeSpan.FromSeconds(5));

        Assert.Equal(["create after", "start after"], _world.Effects);
        Assert.Empty(_world.ControlPlane.Removed);
    }

    public void Dispose() => _world.Dispose();
}
