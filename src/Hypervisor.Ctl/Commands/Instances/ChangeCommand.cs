using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>
/// A mutation of several existing instances: first all are asked for, then all are waited for, against one deadline.
/// </summary>
internal abstract class ChangeCommand : CtlCommand
{
    private readonly Argument<string[]> _names = InstanceArguments.Several();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly WaitOptions _wait = new();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    protected virtual bool Deletes => false;

    /// <summary>As in "web stopped".</summary>
    protected abstract string PastTense { get; }

    public override void Declare(Command command)
    {
        command.Add(_names);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var names = invocation.Get(_names)!;
        if (names.Length > 1 && invocation.Has(_requestId))
        {
            throw CtlException.Usage("--request-id names one request and cannot be used with several instances.");
        }

        var printer = invocation.Printer(_output);
        var waits = _wait.Read(invocation, out var timeout);
        invocation.Streaming = waits;
        var asked = new List<Instance>();
        var exitCode = await EachName.RunAsync(names, name => name, invocation, async name =>
        {
            var requestId = invocation.Get(_requestId) ?? invocation.NewRequestId();
            var instance = await invocation.CallAsync(options => Call(invocation, name, requestId, options), cancellationToken);
            if (waits)
            {
                asked.Add(instance);
            }
            else
            {
                InstanceResult.Write(invocation, printer, instance, Deletes ? "is being deleted" : $"will be {PastTense}", showState: false);
            }
        });

        using var waiter = new InstanceWaiter(invocation, timeout);
        var waited = await EachName.RunAsync(asked, instance => instance.Metadata.Name, invocation, async instance =>
        {
            var done = await waiter.WaitAsync(new(instance, Deletes), cancellationToken);
            InstanceResult.Write(invocation, printer, done, PastTense, showState: !Deletes);
        });
        return exitCode == ExitCode.Done ? waited : exitCode;
    }

    protected abstract AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string requestId, CallOptions options);
}
