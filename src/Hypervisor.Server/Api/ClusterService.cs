using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Events;
using Hypervisor.Server.Api.Nodes;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Backups;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.Replicas;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api;

/// <summary>Nodes and the cluster itself: a thin shell over plain classes.</summary>
internal sealed class ClusterService(
    NodeRegistry registry,
    ViewReads views,
    NodeReads reads,
    NodeUpdates updates,
    InstanceAdoption adoption,
    InstancePurge purge,
    ClusterSummary summary,
    WhatIfQuery whatIf,
    Rebalancing rebalancing,
    ReplicaCalls replicas,
    HeartbeatIntake heartbeats,
    EventReads events,
    WatchHub watches,
    ClusterBackup backup,
    TimeProvider time) : Protocol.V1.ClusterService.ClusterServiceBase
{
    public override Task<RegisterNodeResponse> RegisterNode(RegisterNodeRequest request, ServerCallContext context) =>
        registry.RegisterAsync(request, context.CancellationToken);

    public override async Task<DeregisterNodeResponse> DeregisterNode(DeregisterNodeRequest request, ServerCallContext context)
    {
        await registry.DeregisterAsync(request.Node, request.Fenced, context.CancellationToken);
        return new();
    }

    public override Task<Node> GetNode(GetNodeRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, views, () => reads.GetAsync(request, context.CancellationToken));

    public override Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context) =>
        reads.ListAsync(request, context.CancellationToken);

    public override Task<Node> UpdateNode(UpdateNodeRequest request, ServerCallContext context) =>
        updates.UpdateAsync(request, context.CancellationToken);

    public override Task<Instance> AdoptInstance(AdoptInstanceRequest request, ServerCallContext context) =>
        adoption.AdoptAsync(request, context.CancellationToken);

    public override Task<PurgeInstanceResponse> PurgeInstance(PurgeInstanceRequest request, ServerCallContext context) =>
        purge.PurgeAsync(request, context.CancellationToken);

    public override Task WatchNodes(
        WatchNodesRequest request, IServerStreamWriter<WatchNodesResponse> responseStream, ServerCallContext context) =>
        WatchDelivery.WriteAsync(
            watches.NodesAsync(request, context.CancellationToken), responseStream, time, context.CancellationToken);

    public override async Task Heartbeat(
        IAsyncStreamReader<HeartbeatRequest> requestStream, IServerStreamWriter<HeartbeatResponse> responseStream, ServerCallContext context)
    {
        var authorization = GrpcAuthorization.Of(context);
        await foreach (var beat in requestStream.ReadAllAsync(context.CancellationToken))
        {
            await responseStream.WriteAsync(heartbeats.Beat(beat, authorization), context.CancellationToken);
        }
    }

    public override Task<ClusterInfo> GetClusterInfo(GetClusterInfoRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, views, () => summary.GetAsync(
            request.Consistency, ReplicaCalls.IsForwarded(context), context.CancellationToken));

    public override Task<WhatIfResponse> WhatIf(WhatIfRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, views, () => whatIf.TryAsync(request, context.CancellationToken));

    public override Task<RebalanceResponse> Rebalance(RebalanceRequest request, ServerCallContext context) => ReplicaCalls.HereOrThereAsync(
        context, () => rebalancing.RebalanceAsync(request, context.CancellationToken), () => replicas.RebalanceAsync(request, context));

    public override async Task BackupCluster(
        BackupClusterRequest request, IServerStreamWriter<BackupClusterResponse> responseStream, ServerCallContext context)
    {
        await foreach (var chunk in backup.ReadAsync(context.CancellationToken))
        {
            await responseStream.WriteAsync(new() { Chunk = UnsafeByteOperations.UnsafeWrap(chunk) }, context.CancellationToken);
        }
    }

    public override Task<ListEventsResponse> ListEvents(ListEventsRequest request, ServerCallContext context) =>
        events.ListAsync(request, context.CancellationToken);

    public override Task WatchEvents(
        WatchEventsRequest request, IServerStreamWriter<WatchEventsResponse> responseStream, ServerCallContext context) =>
        WatchDelivery.WriteAsync(
            events.WatchAsync(request, context.CancellationToken), responseStream, time, context.CancellationToken);
}
