using System.CommandLine;
using Grpc.Core;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class RollBackCommand : ChangeCommand
{
    private readonly Option<long> _revision = new("--revision")
    {
        Description = "Which template, as 'group history' numbers them (default: the one before)",
        HelpName = "NUMBER",
    };

    protected override string PastTense => "rolled back";

    public override void Declare(Command command)
    {
        command.Add(_revision);
        base.Declare(command);
    }

    protected override AsyncUnaryCall<Group> Call(Invocation invocation, string group, string requestId, CallOptions options) =>
        invocation.Groups.RollBackGroupAsync(
            new() { Project = invocation.Project, Group = group, Revision = invocation.Get(_revision), RequestId = requestId }, options);
}
