using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances.Snapshots;

internal sealed class RestoreCommand : SnapshotCommand
{
    protected override string PastTense => "restored";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string snapshot, string requestId, CallOptions options) =>
        invocation.Compute.RestoreSnapshotAsync(
            new() { Project = invocation.Project, Instance = instance, Snapshot = snapshot, RequestId = requestId }, options);

    protected override string? Failure(Instance done, string snapshot) =>
        done.Status?.Conditions.FirstOrDefault(condition => condition is { Type: "Restored", Status: ConditionStatus.False }) is { } failed
            ? $"{done.Metadata.Name} was not put back to {snapshot} ({failed.Reason}: {failed.Message.TrimEnd('.')})."
            : null;
}
