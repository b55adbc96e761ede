using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class StartCommand : ChangeCommand
{
    protected override string PastTense => "started";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.StartInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
