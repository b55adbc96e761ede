using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Encoded;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Replicas;

namespace Hypervisor.Server.Api;

/// <summary>hypervisor.v1.ComputeService: a thin adapter, everything is decided behind it.</summary>
internal sealed partial class ComputeService : Protocol.V1.ComputeService.ComputeServiceBase
{
    public override Task<Instance> CreateInstance(CreateInstanceRequest request, ServerCallContext context) => ReplicaCalls.HereOrThereAsync(
        context, () => instances.Creation.CreateAsync(request, context.CancellationToken), () => replicas.CreateAsync(request, context));

    public override Task<CreateInstancesResponse> CreateInstances(CreateInstancesRequest request, ServerCallContext context) => ReplicaCalls.HereOrThereAsync(
        context, () => instances.Bulk.CreateAsync(request, context.CancellationToken), () => replicas.CreateAsync(request, context));

    public override Task<Instance> DeleteInstance(DeleteInstanceRequest request, ServerCallContext context) =>
        instances.Deletion.DeleteAsync(request, context.CancellationToken);

    public override Task<Instance> GetInstance(GetInstanceRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, reads, () => instances.Queries.GetAsync(request, context.CancellationToken));

    public override Task<ListInstancesResponse> ListInstances(ListInstancesRequest request, ServerCallContext context) =>
        instances.Queries.ListAsync(request, context.CancellationToken);

    /// <summary>ListInstances as <see cref="Encoded.EncodedMethods"/> binds it.</summary>
    public Task<EncodedInstances> ListEncodedInstances(ListInstancesRequest request, ServerCallContext context) =>
        instances.Queries.ListEncodedAsync(request, context.CancellationToken);

    public override Task WatchInstances(
        WatchInstancesRequest request, IServerStreamWriter<WatchInstancesResponse> responseStream, ServerCallContext context) =>
        WatchDelivery.WriteAsync(
            instances.Watches.InstancesAsync(request, context.CancellationToken), responseStream, time, context.CancellationToken);

    /// <summary>WatchInstances as <see cref="Encoded.EncodedMethods"/> binds it.</summary>
    public Task WatchEncodedInstances(
        WatchInstancesRequest request, IServerStreamWriter<EncodedEvent> responseStream, ServerCallContext context) =>
        WatchDelivery.WriteAsync(
            instances.Watches.EncodedInstancesAsync(request, context.CancellationToken), responseStream, time, context.CancellationToken);

    public override Task<Instance> StartInstance(StartInstanceRequest request, ServerCallContext context) =>
        instances.Power.StartAsync(request, context.CancellationToken);

    public override Task<Instance> StopInstance(StopInstanceRequest request, ServerCallContext context) =>
        instances.Power.StopAsync(request, context.CancellationToken);

    public override Task<Instance> RestartInstance(RestartInstanceRequest request, ServerCallContext context) =>
        instances.Power.RestartAsync(request, context.CancellationToken);

    public override Task<Instance> PauseInstance(PauseInstanceRequest request, ServerCallContext context) =>
        instances.Power.PauseAsync(request, context.CancellationToken);

    public override Task<Instance> SuspendInstance(SuspendInstanceRequest request, ServerCallContext context) =>
        instances.Power.SuspendAsync(request, context.CancellationToken);

    public override Task<Instance> ResumeInstance(ResumeInstanceRequest request, ServerCallContext context) =>
        instances.Power.ResumeAsync(request, context.CancellationToken);

    public override Task<Instance> CreateSnapshot(CreateSnapshotRequest request, ServerCallContext context) =>
        instances.Snapshots.CreateAsync(request, context.CancellationToken);

    public override Task<ListSnapshotsResponse> ListSnapshots(ListSnapshotsRequest request, ServerCallContext context) =>
        ViewAge.TellAsync(context, request.Consistency, reads, () => instances.Snapshots.ListAsync(request, context.CancellationToken));

    public override Task<Instance> DeleteSnapshot(DeleteSnapshotRequest request, ServerCallContext context) =>
        instances.Snapshots.DeleteAsync(request, context.CancellationToken);

    public override Task<Instance> RestoreSnapshot(RestoreSnapshotRequest request, ServerCallContext context) =>
        instances.Snapshots.RestoreAsync(request, context.CancellationToken);

    public override Task<Instance> CloneInstance(CloneInstanceRequest request, ServerCallContext context) =>
        instances.Cloning.CloneAsync(request, context.CancellationToken);

    public override Task<PlacementReceipt> ExplainInstance(ExplainInstanceRequest request, ServerCallContext context) =>
        instances.Queries.ExplainAsync(request, context.CancellationToken);

    public override Task<UpdateInstanceResponse> UpdateInstance(UpdateInstanceRequest request, ServerCallContext context) => ReplicaCalls.HereOrThereAsync(
        context, () => instances.Updates.UpdateAsync(request, context.CancellationToken), () => replicas.UpdateAsync(request, context));
}
