using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class ResumeCommand : ChangeCommand
{
    protected override string PastTense => "resumed";

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options) =>
        invocation.Compute.ResumeInstanceAsync(new() { Project = invocation.Project, Instance = instance, RequestId = requestId }, options);
}
