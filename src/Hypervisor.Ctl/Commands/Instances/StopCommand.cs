using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class StopCommand : ChangeCommand
{
    protected override string PastTense => "stopped";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.StopInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
