using System.CommandLine;
using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class ScaleCommand : ChangeCommand
{
    private readonly Option<int> _count = new("--count") { Description = "How many members", HelpName = "COUNT", Required = true };

    protected override string PastTense => "scaled";

    public override void Declare(Command command)
    {
        command.Add(_count);
        base.Declare(command);
    }

    protected override AsyncUnaryCall<Group> Call(Invocation invocation, string group, string requestId, CallOptions options) =>
        invocation.Groups.ScaleGroupAsync(
            new() { Project = invocation.Project, Group = group, Count = invocation.Get(_count), RequestId = requestId }, options);
}
