using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

/// <summary>A mutation of one existing group, and the wait until its members are as it says.</summary>
internal abstract class ChangeCommand : CtlCommand
{
    private readonly Argument<string> _name = GroupArguments.One();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly WaitOptions _wait = new();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Groups;

    /// <summary>As in "web scaled".</summary>
    protected abstract string PastTense { get; }

    public override void Declare(Command command)
    {
        command.Add(_name);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var waits = _wait.Read(invocation, out var timeout);
        var requestId = invocation.Get(_requestId) ?? invocation.NewRequestId();
        var group = await invocation.CallAsync(options => Call(invocation, invocation.Get(_name)!, requestId, options), cancellationToken);
        if (waits)
        {
            using var waiter = new GroupWaiter(invocation, timeout);
            group = await waiter.WaitAsync(group, deleted: false, cancellationToken);
        }

        GroupResult.Write(invocation, printer, group, waits ? PastTense : $"will be {PastTense}", showState: waits);
        return ExitCode.Done;
    }

    protected abstract AsyncUnaryCall<Group> Call(Invocation invocation, string group, string requestId, CallOptions options);
}
