using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: EpochMonotonic, NoGhostKill, and that a process runs exactly when its user wants it to.</summary>
public sealed class RunnerDecisionTests
{
    private static readonly TimeSpan Now = TimeSpan.FromSeconds(100);
    private static readonly ExitStatus Failure1 = new() { Code = 1 };

    [Theory]
    // Wanted running.
    [InlineData("running", null, false, "Create")]
    [InlineData("running", "Partial", false, "Create")]
    [InlineData("running", "Created", false, "Create")]
    [InlineData("running", "Created", true, "Start")]
    [InlineData("running", "Running", false, "Rest")]
    [InlineData("running", "Paused", false, "Resume")]
    [InlineData("running", "Exited", false, "Rest")]
    [InlineData("running", "Exited", true, "Rest")]
    [InlineData("running", "Vanished", false, "Create")]
    [InlineData("running", "Vanished", true, "Start")]
    // Wanted stopped.
    [InlineData("stopped", null, false, "Rest")]
    [InlineData("stopped", "Partial", false, "Rest")]
    [InlineData("stopped", "Created", false, "Rest")]
    [InlineData("stopped", "Running", false, "Stop")]
    [InlineData("stopped", "Paused", false, "Stop")]
    [InlineData("stopped", "Exited", false, "Rest")]
    [InlineData("stopped", "Vanished", false, "Rest")]
    // Wanted paused.
    [InlineData("paused", null, false, "Create")]
    [InlineData("paused", "Created", true, "Start")]
    [InlineData("paused", "Running", false, "Pause")]
    [InlineData("paused", "Paused", false, "Rest")]
    [InlineData("paused", "Exited", false, "Rest")]
    // Wanted running again: restart_generation was raised.
    [InlineData("again", null, false, "Create")]
    [InlineData("again", "Created", false, "Create")]
    [InlineData("again", "Running", false, "Stop")]
    [InlineData("again", "Paused", false, "Stop")]
    [InlineData("again", "Exited", false, "Create")]
    [InlineData("again", "Exited", true, "Start")]
    [InlineData("again", "Vanished", false, "Create")]
    public void What_is_wanted_and_what_is_there_decide(string wanted, string? found, bool prepared, string expected)
    {
        var decision = RunnerDecision.Decide(View(Want(wanted), Found(found)) with { Prepared = prepared }, Now);

        Assert.Equal(expected, decision.Action.ToString());
        Assert.Null(decision.Refusal);
    }

    [Fact]
    public void An_unknown_state_is_looked_at_before_anything_is_done()
    {
        foreach (var wanted in new[] { "running", "stopped", "paused", "again" })
        {
            var view = View(Want(wanted), null) with { Observed = Observation.Unknown };
            Assert.Equal(RunnerAction.Observe, RunnerDecision.Decide(view, Now).Action);
        }
    }

    [Fact]
    public void A_running_instance_without_a_known_network_gets_it_looked_up()
    {
        var view = View(Want("running"), Found("Running")) with { NetworkReady = false };

        Assert.Equal(RunnerAction.Attach, RunnerDecision.Decide(view, Now).Action);
    }

    [Fact]
    public void Nothing_is_done_to_what_nobody_names()
    {
        foreach (var found in new[] { "Partial", "Created", "Running", "Paused", "Exited" })
        {
            Assert.Equal(RunnerAction.Rest, RunnerDecision.Decide(View(null, Found(found)), Now).Action);
        }
    }

    [Theory]
    [InlineData("running")]
    [InlineData("stopped")]
    [InlineData("again")]
    public void What_is_there_under_a_higher_epoch_is_left_alone(string wanted)
    {
        var decision = RunnerDecision.Decide(View(Want(wanted, epoch: 1), Found("Running", epoch: 2)), Now);

        Assert.Equal((RunnerAction.Rest, "StaleEpoch"), (decision.Action, decision.Refusal?.Reason));
    }

    [Fact]
    public void What_is_there_under_a_lower_epoch_is_removed_in_the_name_of_the_higher_one()
    {
        var decision = RunnerDecision.Decide(View(Want("running", epoch: 2), Found("Running", epoch: 1)), Now);

        Assert.Equal((RunnerAction.Remove, new Epoch(2)), (decision.Action, decision.Epoch));
    }

    [Theory]
    [InlineData("the same", "RaiseEpoch")]
    [InlineData("other wish", "RaiseEpoch")]
    [InlineData("local disk", "RaiseEpoch")]
    [InlineData("other network rates", "RaiseEpoch")]
    [InlineData("other disk rates", "Remove")]
    [InlineData("other image", "Remove")]
    [InlineData("other name", "Remove")]
    [InlineData("other project", "Remove")]
    [InlineData("came back from elsewhere", "Remove")]
    [InlineData("stay unknown", "Remove")]
    [InlineData("record unknown", "Remove")]
    [InlineData("half-made", "Remove")]
    [InlineData("up to be removed", "Remove")]
    public void A_copy_of_the_same_stay_and_content_goes_on_under_the_newer_epoch(string case_, string expected)
    {
        var desired = Want("running", epoch: 9);
        (desired.FirstEpoch, desired.Name, desired.Project) = (4, "n", "default");
        if (case_ == "local disk")
        {
            desired.Spec.Disks.Add(new Disk { Name = "root", Kind = DiskKind.Local });
        }

        var made = desired.Clone();
        var found = Found("Running", epoch: 5)! with { MadeFrom = made };
        var view = View(desired, found);
        switch (case_)
        {
            case "other wish":
                (made.Spec.DesiredState, made.Spec.RestartGeneration) = (DesiredState.Paused, 7);
                break;
            case "other network rates":
                made.Spec.Network = new() { Rates = new() { ReceiveBytesPerSecond = 65536 } };
                break;
            case "other disk rates":
                made.Spec.DiskRates = new() { ReadBytesPerSecond = 65536 };
                break;
            case "other image":
                made.Spec.Image = "other";
                break;
            case "other name":
                made.Name = "other";
                break;
            case "other project":
                made.Project = "other";
                break;
            case "came back from elsewhere":
                desired.FirstEpoch = 6;
                break;
            case "stay unknown":
                desired.FirstEpoch = 0;
                break;
            case "record unknown":
                view = View(desired, found with { MadeFrom = null });
                break;
            case "half-made":
                view = View(desired, found with { State = DriverState.Partial });
                break;
            case "up to be removed":
                view = view with { RemoveUpTo = new Epoch(5) };
                break;
        }

        var decision = RunnerDecision.Decide(view, Now);

        Assert.Equal((expected, new Epoch(9)), (decision.Action.ToString(), decision.Epoch));
    }

    [Fact]
    public void A_copy_that_holds_a_local_disk_is_never_replaced()
    {
        var desired = Want("running", epoch: 2);
        desired.Spec.Disks.Add(new Disk { Name = "root", Kind = DiskKind.Local });

        var decision = RunnerDecision.Decide(View(desired, Found("Running", epoch: 1)), Now);

        Assert.Equal((RunnerAction.Rest, "DiskOfAnotherEpoch"), (decision.Action, decision.Refusal?.Reason));
    }

    [Fact]
    public void A_type_without_a_driver_is_refused_with_the_package_that_brings_one()
    {
        var desired = Want("running");
        desired.Spec.Type = InstanceType.Vm;

        var decision = RunnerDecision.Decide(View(desired, null) with { HasDriver = false }, Now);

        Assert.Equal("RuntimeUnavailable", decision.Refusal?.Reason);
        Assert.Contains("libvirt-daemon-system", decision.Refusal?.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_transient_failure_is_waited_out_and_a_permanent_one_is_not_tried_again()
    {
        var view = View(Want("running"), null);
        var transient = new Failure(RunnerAction.Create, "Timeout", "", false, 1, 1, new Epoch(1), Now + TimeSpan.FromSeconds(1));

        Assert.Equal(RunnerAction.Wait, RunnerDecision.Decide(view with { Failure = transient }, Now).Action);
        Assert.Equal(RunnerAction.Create, RunnerDecision.Decide(view with { Failure = transient }, transient.RetryAt).Action);

        var permanent = RunnerDecision.Decide(view with { Failure = transient with { Permanent = true, Reason = "ImageNotFound" } }, Now + TimeSpan.FromDays(1));
        Assert.Equal((RunnerAction.Rest, "ImageNotFound"), (permanent.Action, permanent.Refusal?.Reason));
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(1, 2)]
    public void Another_generation_or_epoch_is_worth_a_new_attempt(long generation, long epoch)
    {
        var failure = new Failure(RunnerAction.Create, "ImageNotFound", "", true, 1, 1, new Epoch(1), Now);

        var view = View(Want("running", epoch, generation), null) with { Failure = failure };
        Assert.Equal(RunnerAction.Create, RunnerDecision.Decide(view, Now).Action);
    }

    [Theory]
    [InlineData("Running", 1, 1, "Remove")]
    [InlineData("Running", 1, 2, "Remove")]
    [InlineData("Exited", 1, 1, "Remove")]
    [InlineData("Partial", 1, 1, "Remove")]
    [InlineData("Running", 2, 1, "Acknowledge")]
    [InlineData(null, 1, 1, "Acknowledge")]
    public void A_removal_acts_up_to_its_epoch_only(string? found, long foundEpoch, long removedEpoch, string expected)
    {
        var view = View(null, Found(found, foundEpoch)) with { RemoveUpTo = new Epoch(removedEpoch), NetworkReleased = true };

        Assert.Equal(expected, RunnerDecision.Decide(view, Now).Action.ToString());
    }

    [Fact]
    public void A_removal_is_not_complete_while_the_runtime_is_unknown_or_the_network_is_left()
    {
        var view = View(null, null) with { RemoveUpTo = new Epoch(1) };

        Assert.Equal(RunnerAction.Remove, RunnerDecision.Decide(view, Now).Action);
        Assert.Equal(RunnerAction.Observe, RunnerDecision.Decide(view with { Observed = Observation.Unknown, NetworkReleased = true }, Now).Action);
    }

    [Fact]
    public void A_removal_is_never_given_up_and_does_not_wait_for_a_start_that_failed()
    {
        var view = View(null, Found("Running")) with { RemoveUpTo = new Epoch(1) };
        var ofStart = new Failure(RunnerAction.Start, "X", "", false, 9, 1, new Epoch(1), Now + TimeSpan.FromSeconds(30));
        var ofRemoval = ofStart with { Action = RunnerAction.Remove, Generation = Failure.OfRemoval, Permanent = true };

        Assert.Equal(RunnerAction.Remove, RunnerDecision.Decide(view with { Failure = ofStart }, Now).Action);
        Assert.Equal(RunnerAction.Wait, RunnerDecision.Decide(view with { Failure = ofRemoval }, Now).Action);
        Assert.Equal(RunnerAction.Remove, RunnerDecision.Decide(view with { Failure = ofRemoval }, ofRemoval.RetryAt).Action);
    }

    [Fact]
    public void A_newer_assignment_goes_before_an_older_removal_which_is_acknowledged_once_true()
    {
        var view = View(Want("running", epoch: 2), Found("Running", epoch: 1)) with { RemoveUpTo = new Epoch(1) };
        Assert.Equal((RunnerAction.Remove, new Epoch(2)), Action(view));

        var replaced = view with { Observed = Observation.Absent };
        Assert.Equal((RunnerAction.Acknowledge, new Epoch(1)), Action(replaced));
        Assert.Equal((RunnerAction.Create, new Epoch(2)), Action(replaced with { RemoveUpTo = Epoch.None }));

        static (RunnerAction, Epoch) Action(RunnerView view) => RunnerDecision.Decide(view, Now) is var decision ? (decision.Action, decision.Epoch) : default;
    }

    [Theory]
    [InlineData("Running", "running", 100, RunnerAction.Rest)]
    [InlineData("Running", "running", 200, RunnerAction.Limit)]
    [InlineData("Paused", "paused", 200, RunnerAction.Limit)]
    [InlineData("Running", "stopped", 200, RunnerAction.Stop)]
    [InlineData("Running", "again", 200, RunnerAction.Stop)]
    [InlineData("Exited", "running", 200, RunnerAction.Rest)]
    internal void What_runs_under_other_limits_than_wanted_is_given_them(string found, string wanted, long millicores, RunnerAction expected)
    {
        var desired = Want(wanted);
        desired.Spec.Resources = new() { CpuMillicores = millicores };
        var instance = Found(found)! with { Limits = new InstanceLimits(100, 0, 0) };

        Assert.Equal(expected, RunnerDecision.Decide(View(desired, instance), Now).Action);
        Assert.NotEqual(RunnerAction.Limit, RunnerDecision.Decide(View(desired, instance with { Limits = null }), Now).Action);
    }

    private static RunnerView View(Assignment? desired, DriverInstance? found) =>
        new() { Desired = desired, Observed = Observation.Of(found), NetworkReady = true };

    private static Assignment Want(string wanted, long epoch = 1, long generation = 1) => new()
    {
        Uid = "u",
        Epoch = epoch,
        Generation = generation,
        Spec = new InstanceSpec
        {
            Type = InstanceType.Container,
            RestartGeneration = wanted == "again" ? 1 : 0,
            DesiredState = wanted switch { "stopped" => DesiredState.Stopped, "paused" => DesiredState.Paused, _ => DesiredState.Running },
        },
    };

    private static DriverInstance? Found(string? state, long epoch = 1) => state is null ? null : new DriverInstance(
        new InstanceId("u"),
        new Epoch(epoch),
        "n",
        "default",
        Generation: 1,
        RestartGeneration: 0,
        state is "Exited" or "Vanished" ? DriverState.Stopped : Enum.Parse<DriverState>(state),
        Exit: state == "Exited" ? Failure1 : null);
}
