using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: the queue is bounded and says when to come back, and who does not want to wait is told at once why nothing fits.</summary>
public sealed class QueueAdmissionTests
{
    private static readonly InstanceId _id = new("new");

    [Fact]
    public void A_full_queue_says_when_to_come_back()
    {
        var refused = Assert.Throws<RpcException>(() => Check(new() { Name = "web" }, null, most: 0));

        Assert.Equal(Grpc.Core.StatusCode.ResourceExhausted, refused.StatusCode);
        Assert.Contains("0 instances wait", refused.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(Limits.Control.RetryPending, refused.GetRpcStatus()!.GetDetail<RetryInfo>()!.RetryDelay.ToTimeSpan());
    }

    [Fact]
    public void Who_has_a_node_does_not_wait() => Check(new() { Name = "web", FailFast = true }, Placed("n1"), most: 0);

    [Fact]
    public void Who_does_not_want_to_wait_asks_the_leader() =>
        Assert.Throws<NotLeadingException>(() => Check(new() { Name = "web", FailFast = true }, null, placement: new Nowhere { Leads = false }));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Who_does_not_want_to_wait_is_told_why_nothing_fits(bool leads)
    {
        var proposal = leads ? Placed("") : null;
        var refused = Assert.Throws<RpcException>(() => Check(new() { Name = "web", FailFast = true }, proposal));

        Assert.Equal(Grpc.Core.StatusCode.FailedPrecondition, refused.StatusCode);
        Assert.Equal("NO_FITTING_NODE", refused.GetRpcStatus()!.GetDetail<ErrorInfo>()!.Reason);
        Assert.Contains("1 node: 1 is cordoned", refused.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(leads ? PlacementOutcome.Refused : null, proposal?.Settled);
        Check(new() { Name = "web" }, proposal);
    }

    private static void Check(CreateInstanceRequest request, Proposal? proposal, int most = 1, Nowhere? placement = null) => QueueAdmission.Check(
        request, _id, new InstanceSpecRecord(), ClusterView.Empty, proposal, placement ?? new Nowhere(), most);

    private static Proposal Placed(string node) => new(new() { Placement = new() { NodeUid = node, Message = "1 node: 1 is cordoned" } });

    private sealed record Proposal(PlacementRecord Record) : PlacementProposal(Record, null, [])
    {
        public PlacementOutcome? Settled { get; private set; }

        public override void Settle(PlacementOutcome outcome, long revision) => Settled = outcome;
    }

    private sealed class Nowhere : IFirstPlacement
    {
        public bool Leads { get; init; } = true;

        public PlacementProposal? Propose(InstanceId id, InstanceSpecRecord spec, ClusterView view, bool dryRun) => null;

        public Placement? Foresee(InstanceId id, InstanceSpecRecord spec, ClusterView view) => Leads ? new() { Message = "1 node: 1 is cordoned" } : null;
    }
}
