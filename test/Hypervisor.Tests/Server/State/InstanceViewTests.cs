using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;
using Xunit;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: what users see of an instance follows from its records and its node alone.</summary>
public sealed class InstanceViewTests
{
    private static readonly PlacedNode Ready = new("n1", "alpha", Exists: true, NodeLiveness.Ready, null, 5);

    private static readonly PlacedNode Down =
        Ready with { Liveness = NodeLiveness.Down, Since = Timestamp.FromDateTime(new(2030, 1, 2, 3, 4, 5, DateTimeKind.Utc)) };

    [Fact]
    public void Without_any_decision_it_is_pending_and_says_so() =>
        Check(Entry(), InstanceState.Pending, "NotScheduled", "No node was chosen yet.");

    [Fact]
    public void The_scheduler_s_reason_is_the_reason_of_pending() => Check(
        Entry(new() { Reason = "NoNodeFits", Message = "0 of 2 nodes fit." }), InstanceState.Pending, "NoNodeFits", "0 of 2 nodes fit.");

    [Fact]
    public void Placed_and_not_reported_is_scheduled() =>
        Check(Entry(Placed(), node: Ready), InstanceState.Scheduled, "WaitingForNode", "'alpha'");

    [Theory]
    [InlineData(InstanceState.Starting, InstanceState.Starting)]
    [InlineData(InstanceState.Running, InstanceState.Running)]
    [InlineData(InstanceState.Suspended, InstanceState.Suspended)]
    [InlineData(InstanceState.Failed, InstanceState.Failed)]
    [InlineData(InstanceState.Stopped, InstanceState.Stopped)]
    [InlineData(InstanceState.Unspecified, InstanceState.Scheduled)]
    [InlineData(InstanceState.Pending, InstanceState.Unknown)]
    public void A_report_under_the_present_epoch_is_what_counts(InstanceState reported, InstanceState seen) =>
        Check(Entry(Placed(), Status(reported), Ready), seen, "Because", "said so");

    [Fact]
    public void A_report_of_an_earlier_placement_counts_for_nothing()
    {
        var rendered = InstanceView.Render(Entry(Placed(epoch: 8), Status(InstanceState.Running), Ready));

        Assert.Equal(InstanceState.Scheduled, rendered.Status.State);
        Assert.Empty(rendered.Status.IpAddresses);
    }

    [Fact]
    public void A_suspect_node_changes_nothing_yet() => Check(
        Entry(Placed(), Status(InstanceState.Running), Ready with { Liveness = NodeLiveness.Suspect }), InstanceState.Running, "Because", "said so");

    [Fact]
    public void On_a_node_that_is_down_it_is_unknown_with_the_node_and_the_time_and_the_last_report()
    {
        var rendered = InstanceView.Render(Entry(Placed(), Status(InstanceState.Running), Down));

        Assert.Equal(InstanceState.Unknown, rendered.Status.State);
        Assert.Equal("NodeDown", rendered.Status.Reason);
        Assert.Equal("Node 'alpha' has not been heard of since 2030-01-02T03:04:05Z; it last reported RUNNING.", rendered.Status.Message);
        Assert.Equal("10.0.0.2", Assert.Single(rendered.Status.IpAddresses));
    }

    [Fact]
    public void On_a_node_that_is_gone_it_is_unknown() => Check(
        Entry(Placed(), Status(InstanceState.Running), Ready with { Exists = false }), InstanceState.Unknown, "NodeGone", "deregistered");

    [Fact]
    public void Deleting_wins_over_everything_and_names_what_it_waits_for()
    {
        Check(Entry(Placed(), Status(InstanceState.Running), Ready, deleting: true), InstanceState.Deleting, "Deleting", "'alpha' is removing");
        Check(Entry(Placed(), Status(InstanceState.Running), Down, deleting: true), InstanceState.Deleting, "Deleting", "hypervisor-ctl node delete alpha --fenced");
        Check(Entry(deleting: true), InstanceState.Deleting, "Deleting", "being removed");
    }

    [Fact]
    public void A_summary_has_what_it_promises_and_agrees_with_the_whole()
    {
        var entry = Entry(Placed(), Status(InstanceState.Running), Ready);
        var whole = InstanceView.Render(entry);
        var summary = InstanceView.RenderSummary(entry);

        Assert.Empty(summary.Metadata.Annotations);
        Assert.Null(summary.Spec.Process);
        whole.Metadata.Annotations.Clear();
        Assert.Equal(whole.Metadata, summary.Metadata);
        Assert.Equal((whole.Status.State, whole.Status.Reason), (summary.Status.State, summary.Status.Reason));
        Assert.Equal(whole.Status.IpAddresses, summary.Status.IpAddresses);
        Assert.Equal((whole.Placement.Node, whole.Placement.Epoch), (summary.Placement.Node, summary.Placement.Epoch));
    }

    [Fact]
    public void Rendering_hands_out_copies()
    {
        var entry = Entry(Placed(), Status(InstanceState.Running), Ready);
        var first = InstanceView.Render(entry);
        first.Spec.Image = "changed";
        first.Placement.Node = "changed";
        first.Metadata.Labels["new"] = "1";
        InstanceView.RenderSummary(entry).Metadata.Labels["new"] = "1";

        Assert.Equal("busybox:latest", InstanceView.Render(entry).Spec.Image);
        Assert.Equal("alpha", InstanceView.Render(entry).Placement.Node);
        Assert.False(entry.Metadata.Labels.ContainsKey("new"));
    }

    private static void Check(InstanceEntry entry, InstanceState state, string reason, string messagePart)
    {
        var status = InstanceView.Render(entry).Status;
        Assert.Equal((state, reason), (status.State, status.Reason));
        Assert.Contains(messagePart, status.Message, StringComparison.Ordinal);
        Assert.Equal(state, InstanceView.StateOf(entry));
    }

    private static Placement Placed(long epoch = 7) => new() { Node = "alpha", NodeUid = "n1", Epoch = epoch };

    private static InstanceStatus Status(InstanceState state) =>
        new() { State = state, Reason = "Because", Message = "said so", ObservedEpoch = 7, IpAddresses = { "10.0.0.2" } };

    private static InstanceEntry Entry(
        Placement? placement = null, InstanceStatus? status = null, PlacedNode? node = null, bool deleting = false) => new()
        {
            Id = new("u1"),
            SpecRecord = new()
            {
                Metadata = new()
                {
                    Name = "web",
                    Project = "default",
                    Uid = "u1",
                    Generation = 3,
                    Annotations = { ["note"] = "x" },
                    DeletedAt = deleting ? new Timestamp { Seconds = 1 } : null,
                },
                Spec = new() { Type = InstanceType.Container, Image = "busybox:latest", Process = new() },
            },
            SpecRevision = 1,
            PlacementRecord = placement is null ? null : new PlacementRecord { Placement = placement },
            StatusRecord = status is null ? null : new StatusRecord { Status = status },
            Node = node,
            ResourceVersion = ResourceVersion.Of(Incarnation.First, 9),
        };
}
