using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Whether a new instance without a node is taken in to wait for one.</summary>
internal static class QueueAdmission
{
    /// <param name="proposal">Null when the instance is left to stand in line.</param>
    /// <param name="most">Instances that may wait.</param>
    /// <exception cref="Grpc.Core.RpcException">
    /// RESOURCE_EXHAUSTED, with when to come back, once too many wait; FAILED_PRECONDITION when the client wants no waiting and nothing fits.
    /// </exception>
    /// <exception cref="NotLeadingException">The client wants no waiting, and the leader is another replica, or nobody.</exception>
    public static void Check(
        CreateInstanceRequest request,
        InstanceId id,
        InstanceSpecRecord record,
        ClusterView view,
        PlacementProposal? proposal,
        IFirstPlacement? placement,
        int most = Limits.Control.Pending)
    {
        if (proposal?.Placement.Placement is { NodeUid.Length: > 0 })
        {
            return;
        }

        if (request.FailFast && placement is not null)
        {
            // Nobody but the leader knows what is free, and what is on its way into the store.
            var foreseen = proposal?.Placement.Placement ?? placement.Foresee(id, record, view) ?? throw new NotLeadingException();
            if (foreseen.NodeUid.Length == 0)
            {
                proposal?.Settle(PlacementOutcome.Refused, 0);
                throw ApiErrors.FailedPrecondition(
                    "NO_FITTING_NODE", $"Instance '{request.Name}' fits on no node now: {foreseen.Message}. Without fail_fast it would wait.", "Instance", request.Name);
            }
        }

        if (view.UnplacedCount >= most)
        {
            proposal?.Settle(PlacementOutcome.Refused, 0);
            throw ApiErrors.ResourceExhausted(
                $"{view.UnplacedCount} instances wait for a node, and no more are taken in; add nodes, delete what waits, or come back later.", Limits.Control.RetryPending);
        }
    }
}
