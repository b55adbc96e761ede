using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class DeleteCommand : ChangeCommand
{
    protected override bool Deletes => true;

    protected override string PastTense => "deleted";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.DeleteInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
