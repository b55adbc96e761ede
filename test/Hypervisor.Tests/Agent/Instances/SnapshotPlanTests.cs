using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>
/// Protects: snapshots are made, deleted and gone back to exactly once and only when somebody asked, whatever a store forgot or a move left behind.
/// </summary>
public sealed class SnapshotPlanTests
{
    private const long Incarnation = 1L << 48;

    private static readonly DateTimeOffset At = DateTimeOffset.UnixEpoch.AddYears(50);

    [Theory]
    [InlineData(null, "running", "Create")]
    [InlineData(null, "stopped", "Create")]
    [InlineData("Partial", "stopped", "Create")]
    [InlineData("Created", "stopped", "Snapshot")]
    [InlineData("Running", "running", "Snapshot")]
    [InlineData("Paused", "paused", "Snapshot")]
    [InlineData("Suspended", "running", "Snapshot")]
    [InlineData("Stopped", "stopped", "Snapshot")]
    // One that is to end is let end first: suspended, it would only be cut off.
    [InlineData("Running", "stopped", "Stop")]
    [InlineData("Running", "again", "Stop")]
    public void A_snapshot_that_is_wanted_is_taken_as_soon_as_there_are_disks(string? found, string wanted, string expected) =>
        Assert.Equal(expected, Decide(Want(wanted, "s1"), Found(found)).ToString());

    [Fact]
    public void With_memory_it_cannot_wait_for_the_end_of_what_runs()
    {
        var desired = Want("stopped", "s1");
        desired.Spec.Snapshots[0].Memory = true;

        Assert.Equal(RunnerAction.Snapshot, Decide(desired, Found("Running")));
    }

    [Fact]
    public void What_was_tried_is_not_tried_again_and_what_is_not_wanted_is_deleted()
    {
        var found = Found("Running", "s1", "s2");

        Assert.Equal(RunnerAction.Rest, Decide(Want("running", "s1", "s2"), found));
        Assert.Equal(RunnerAction.DeleteSnapshot, Decide(Want("running", "s2"), found));
        Assert.Equal("s1", SnapshotPlan.Unwanted(Want("running", "s2"), found)!.Wanted.Uid);
    }

    [Fact]
    public void One_whose_making_was_broken_off_is_made_or_deleted()
    {
        var found = Found("Running", "s1");
        found = found with { Snapshots = [found.Snapshots[0] with { Tried = false }] };

        Assert.Equal(RunnerAction.Snapshot, Decide(Want("running", "s1"), found));
        Assert.Equal(SnapshotState.Creating, SnapshotPlan.Statuses(Want("running", "s1"), found, keeps: true).Single().State);
        Assert.Equal(RunnerAction.DeleteSnapshot, Decide(Want("running"), found));
    }

    [Fact]
    public void What_a_store_of_a_backup_does_not_know_nobody_has_deleted()
    {
        var desired = Want("running");
        desired.Epoch += Incarnation;

        Assert.Equal(RunnerAction.Rest, Decide(desired, Found("Running", "s1") with { Epoch = new(desired.Epoch) }));
    }

    [Fact]
    public void A_snapshot_of_an_earlier_stay_is_lost_and_never_taken_of_other_disks()
    {
        var desired = Want("running", "s1");
        (desired.Epoch, desired.FirstEpoch) = (desired.Epoch + 3, desired.Epoch + 3);
        var found = Found("Running") with { Epoch = new(desired.Epoch) };

        Assert.Equal(RunnerAction.Rest, Decide(desired, found));
        var status = Assert.Single(SnapshotPlan.Statuses(desired, found, keeps: true));
        Assert.Equal((SnapshotState.Failed, "SnapshotLost"), (status.State, status.Reason));
    }

    [Theory]
    [InlineData("Running", 0, "Restore")]
    [InlineData("Stopped", 0, "Restore")]
    [InlineData("Suspended", 1, "Restore")]
    [InlineData("Running", 2, "Rest")]
    [InlineData("Running", 3, "Rest")]
    public void A_restore_is_carried_out_once_for_each_time_it_was_asked_for(string state, long done, string expected)
    {
        var desired = Want("running", "s1");
        desired.Spec.Restore = new RestoreSpec { SnapshotUid = "s1", Generation = 2 };
        var found = Found(state, "s1")! with { Restored = done == 0 ? null : new DriverRestore(done, "s1") };

        Assert.Equal(expected, Decide(desired, found).ToString());
        Assert.Equal(RunnerAction.Create, Decide(desired, null));
    }

    [Fact]
    public void A_driver_that_keeps_none_is_not_asked_and_it_is_said()
    {
        var desired = Want("running", "s1");

        Assert.Equal(RunnerAction.Rest, RunnerDecision.Decide(View(desired, Found("Running")) with { KeepsSnapshots = false }, default).Action);
        Assert.Equal("SnapshotUnsupported", SnapshotPlan.Statuses(desired, Found("Running"), keeps: false).Single().Reason);
    }

    [Fact]
    public void The_status_tells_of_each_what_became_of_it()
    {
        var found = Found("Running", "s1", "s2")!;
        found = found with { Snapshots = [found.Snapshots[0] with { SizeBytes = 9, Memory = true }, found.Snapshots[1] with { Reason = "DiskFull", Message = "full" }] };
        var desired = Want("running", "s1", "s2", "s3");
        desired.Spec.Restore = new RestoreSpec { SnapshotUid = "s2", Generation = 1 };
        found = found with { Restored = new DriverRestore(1, "s2", "SnapshotNotFound", "there is none") };

        var status = StatusRendering.Render(View(desired, found), RunnerDecision.Decide(View(desired, found), default), null, "", At)!;

        Assert.Equal([SnapshotState.Ready, SnapshotState.Failed, SnapshotState.Creating], status.Snapshots.Select(snapshot => snapshot.State));
        Assert.Equal((9, true, "DiskFull", 1), (status.Snapshots[0].SizeBytes, status.Snapshots[0].Memory, status.Snapshots[1].Reason, status.ObservedRestoreGeneration));
        var restored = Assert.Single(status.Conditions, condition => condition.Type == "Restored");
        Assert.Equal((ConditionStatus.False, "SnapshotNotFound"), (restored.Status, restored.Reason));
    }

    private static RunnerAction Decide(Assignment desired, DriverInstance? found) => RunnerDecision.Decide(View(desired, found), default).Action;

    private static RunnerView View(Assignment desired, DriverInstance? found) =>
        new() { Desired = desired, Observed = Observation.Of(found), NetworkReady = true, KeepsSnapshots = true };

    private static Assignment Want(string wanted, params string[] snapshots) => new()
    {
        Uid = "u",
        Epoch = Incarnation + 1,
        FirstEpoch = Incarnation + 1,
        Generation = 1,
        Spec = new InstanceSpec
        {
            Type = InstanceType.Microvm,
            RestartGeneration = wanted == "again" ? 1 : 0,
            DesiredState = wanted switch { "stopped" => DesiredState.Stopped, "paused" => DesiredState.Paused, _ => DesiredState.Running },
            Snapshots = { snapshots.Select(Snapshot) },
        },
    };

    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(state))]
    private static DriverInstance? Found(string? state, params string[] snapshots) => state is null ? null : new DriverInstance(
        new InstanceId("u"), new Epoch(Incarnation + 1), "n", "default", Generation: 1, RestartGeneration: 0, Enum.Parse<DriverState>(state))
    {
        Snapshots = [.. snapshots.Select(uid => new DriverSnapshot(Snapshot(uid), At))],
    };

    private static SnapshotSpec Snapshot(string uid) => new() { Uid = uid, Name = uid, Epoch = Incarnation + 1 };
}
