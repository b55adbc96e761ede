using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class RestartCommand : ChangeCommand
{
    protected override string PastTense => "restarted";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.RestartInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
