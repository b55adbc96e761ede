using System.CommandLine;
using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class DeleteCommand : CtlCommand
{
    private readonly Argument<string[]> _names = GroupArguments.Several();
    private readonly Option<bool> _orphan = new("--orphan") { Description = "Leave the members, as instances of their own" };
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Groups;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_orphan);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var names = invocation.Get(_names)!;
        if (names.Length > 1 && invocation.Has(_requestId))
        {
            throw CtlException.Usage("--request-id names one request and cannot be used with several groups.");
        }

        var printer = invocation.Printer(_output);
        var waits = _wait.Read(invocation, out var timeout);
        var asked = new List<Group>();
        var exitCode = await EachName.RunAsync(names, name => name, invocation, async name =>
        {
            var request = new DeleteGroupRequest
            {
                Project = invocation.Project,
                Group = name,
                Orphan = invocation.Get(_orphan),
                RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
            };
            asked.Add(await invocation.CallAsync(options => invocation.Groups.DeleteGroupAsync(request, options), cancellationToken));
        });
        using var waiter = new GroupWaiter(invocation, timeout);
        var waited = await EachName.RunAsync(asked, group => group.Metadata.Name, invocation, async group =>
        {
            var last = waits ? await waiter.WaitAsync(group, deleted: true, cancellationToken) : group;
            GroupResult.Write(invocation, printer, last, waits ? "deleted" : "is being deleted", showState: false);
        });
        return exitCode == ExitCode.Done ? waited : exitCode;
    }
}
