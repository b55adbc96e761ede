using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Groups;

/// <summary>Protects: a member is replaced when it is gone for good and not before, and counts as available when it has proved that it runs.</summary>
public sealed class MemberTests
{
    private static readonly DateTimeOffset Now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(0, nameof(MemberPhase.Ready))]
    [InlineData(4, nameof(MemberPhase.Ready))]
    [InlineData(5, nameof(MemberPhase.Available))]
    [InlineData(-60, nameof(MemberPhase.Available))]
    public void It_is_available_when_it_was_ready_for_long_enough_by_a_clock_that_may_be_ahead(int seconds, string expected) =>
        Assert.Equal(expected, PhaseOf(Entry(status => status.StartedAt = (Now - TimeSpan.FromSeconds(seconds)).ToTimestamp())).Phase.ToString());

    /// <summary>Protects: a process that is started again and again is never taken for one that runs.</summary>
    [Fact]
    public void The_last_start_counts_and_so_does_when_it_became_healthy()
    {
        var restarted = Entry(status =>
        {
            status.StartedAt = (Now - TimeSpan.FromSeconds(1)).ToTimestamp();
            status.Conditions.Add(Ready(ConditionStatus.True, TimeSpan.FromHours(1)));
        });
        var healthySinceNow = Entry(status =>
        {
            status.StartedAt = (Now - TimeSpan.FromHours(1)).ToTimestamp();
            status.Conditions.Add(Ready(ConditionStatus.True, TimeSpan.FromSeconds(1)));
        });
        var unhealthy = Entry(status => status.Conditions.Add(Ready(ConditionStatus.False, TimeSpan.FromHours(1))));

        Assert.Equal((MemberPhase.Ready, TimeSpan.FromSeconds(4)), PhaseOf(restarted));
        Assert.Equal(MemberPhase.Ready, PhaseOf(healthySinceNow).Phase);
        Assert.Equal(MemberPhase.Unready, PhaseOf(unhealthy).Phase);
    }

    /// <summary>Protects: NEVER means never, a process that ended well is done under ON_FAILURE, and what still may start again is not replaced.</summary>
    [Theory]
    [InlineData(RestartPolicy.Always, InstanceState.Failed, 10, nameof(MemberPhase.Ended))]
    [InlineData(RestartPolicy.Always, InstanceState.Stopped, 10, nameof(MemberPhase.Ended))]
    [InlineData(RestartPolicy.Always, InstanceState.Failed, 9, nameof(MemberPhase.Unready))]
    [InlineData(RestartPolicy.Always, InstanceState.Starting, 10, nameof(MemberPhase.Unready))]
    [InlineData(RestartPolicy.OnFailure, InstanceState.Failed, 10, nameof(MemberPhase.Ended))]
    [InlineData(RestartPolicy.OnFailure, InstanceState.Stopped, 10, nameof(MemberPhase.Unready))]
    [InlineData(RestartPolicy.Never, InstanceState.Failed, 10, nameof(MemberPhase.Unready))]
    public void Whether_one_that_ended_is_replaced_follows_from_its_restart_policy(RestartPolicy policy, InstanceState state, int seconds, string expected)
    {
        var ended = Entry(
            status => (status.State, status.FinishedAt) = (state, (Now - TimeSpan.FromSeconds(seconds)).ToTimestamp()),
            record => record.Spec.Restart.Policy = policy);

        Assert.Equal(expected, PhaseOf(ended).Phase.ToString());
    }

    /// <summary>Protects: what made room where it is goes on there; another one in its place would cost it its disk.</summary>
    [Theory]
    [InlineData(InstanceState.Failed)]
    [InlineData(InstanceState.Stopped)]
    public void What_was_stopped_to_make_room_is_not_replaced(InstanceState state)
    {
        var parked = Entry(
            status => (status.State, status.FinishedAt) = (state, (Now - TimeSpan.FromHours(1)).ToTimestamp()),
            eviction: new() { Reason = "Preempted", InPlace = true, Parked = true });

        Assert.Equal(MemberPhase.Unready, PhaseOf(parked).Phase);
    }

    [Fact]
    public void What_a_user_stopped_and_what_never_ran_stays()
    {
        var stopped = Entry(
            status => (status.State, status.FinishedAt) = (InstanceState.Stopped, (Now - TimeSpan.FromHours(1)).ToTimestamp()),
            record => record.Spec.DesiredState = DesiredState.Stopped);
        var impossible = Entry(status => status.State = InstanceState.Failed);

        Assert.Equal(MemberPhase.Unready, PhaseOf(stopped).Phase);
        Assert.Equal(MemberPhase.Unready, PhaseOf(impossible).Phase);
    }

    [Theory]
    [InlineData(59, nameof(MemberPhase.Unready), 1)]
    [InlineData(60, nameof(MemberPhase.Lost), 3600)]
    public void One_whose_node_is_down_is_lost_after_a_while(int seconds, string expected, int wake)
    {
        var node = new PlacedNode("n", "n", true, NodeLiveness.Down, (Now - TimeSpan.FromSeconds(seconds)).ToTimestamp(), 1);

        var (phase, next) = PhaseOf(Entry(_ => { }, node: node));

        Assert.Equal((expected, TimeSpan.FromSeconds(wake)), (phase.ToString(), next));
    }

    [Fact]
    public void One_that_is_being_deleted_is_nothing_else() =>
        Assert.Equal(MemberPhase.Deleting, PhaseOf(Entry(_ => { }, record => record.Metadata.DeletedAt = Now.ToTimestamp())).Phase);

    private static (MemberPhase Phase, TimeSpan Wake) PhaseOf(InstanceEntry entry)
    {
        var wake = TimeSpan.FromHours(1);
        return (Member.Of(entry, Limits.Groups.MinReady, Now, ref wake).Phase, wake);
    }

    private static Condition Ready(ConditionStatus status, TimeSpan since) =>
        new() { Type = "Ready", Status = status, LastTransitionAt = (Now - since).ToTimestamp() };

    private static InstanceEntry Entry(Action<InstanceStatus> status, Action<InstanceSpecRecord>? change = null, PlacedNode? node = null, Eviction? eviction = null)
    {
        var record = new InstanceSpecRecord
        {
            Metadata = new() { Name = "web-1", Project = "default", Uid = "u", Generation = 1, Owner = new() { Kind = GroupEntry.Kind, Uid = "g", Revision = 1 } },
            Spec = new() { DesiredState = DesiredState.Running, Restart = new() { Policy = RestartPolicy.Always } },
        };
        change?.Invoke(record);
        var reported = new StatusRecord { Status = new() { State = InstanceState.Running, ObservedEpoch = 1, ObservedGeneration = 1 } };
        status(reported.Status);
        return new()
        {
            Id = new("u"),
            SpecRecord = record,
            SpecRevision = 1,
            PlacementRecord = new() { Placement = new() { NodeUid = "n", Node = "n", Epoch = 1, Eviction = eviction } },
            StatusRecord = reported,
            Node = node ?? new("n", "n", true, NodeLiveness.Ready, null, 1),
            ResourceVersion = default,
        };
    }
}
