using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class PauseCommand : ChangeCommand
{
    protected override string PastTense => "paused";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.PauseInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
