using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Registries;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Replicas;

namespace Hypervisor.Server.Api;

/// <summary>What agents ask of the control plane: a thin shell that authenticates and hands on.</summary>
internal sealed partial class AssignmentService(
    NodeAuthenticator nodes,
    AssignmentFeed feed,
    StatusIntake intake,
    ImageCatalogue images,
    ImageResolution resolution,
    ReplicaCalls replicas,
    TimeProvider time) : Protocol.V1.AssignmentService.AssignmentServiceBase
{
    public override async Task WatchAssignments(
        WatchAssignmentsRequest request, IServerStreamWriter<AssignmentEvent> responseStream, ServerCallContext context)
    {
        var node = nodes.Require(request.NodeUid, GrpcAuthorization.Of(context));
        var events = feed.WatchAsync(node.Id, new ResourceVersion(request.ResourceVersion), context.CancellationToken);
        await WatchDelivery.WriteAsync(events, responseStream, time, context.CancellationToken);
    }

    public override Task<ReportStatusResponse> ReportStatus(ReportStatusRequest request, ServerCallContext context)
    {
        var node = nodes.Require(request.NodeUid, GrpcAuthorization.Of(context));
        return intake.ReportAsync(node.Id, request, context.CancellationToken);
    }
}
