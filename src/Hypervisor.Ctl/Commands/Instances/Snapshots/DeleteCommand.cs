using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances.Snapshots;

internal sealed class DeleteCommand : SnapshotCommand
{
    protected override string PastTense => "deleted";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string snapshot, string requestId, CallOptions options) =>
        invocation.Compute.DeleteSnapshotAsync(
            new() { Project = invocation.Project, Instance = instance, Snapshot = snapshot, RequestId = requestId }, options);
}
