using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class SuspendCommand : ChangeCommand
{
    protected override string PastTense => "suspended";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.SuspendInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
