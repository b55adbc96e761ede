using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class CloneCommand : CtlCommand
{
    private readonly Argument<string> _source = InstanceArguments.One();
    private readonly Argument<string> _name = new("name") { Description = "Name of the new instance" };
    private readonly Option<string> _snapshot = new("--snapshot") { Description = "Copy the disks as they were in this snapshot; else the source has to be stopped", HelpName = "NAME" };
    private readonly Option<string[]> _labels = new("--label") { Description = "Label (repeatable)", HelpName = "KEY=VALUE", Arity = ArgumentArity.OneOrMore };
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_source);
        command.Add(_name);
        command.Add(_snapshot);
        command.Add(_labels);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var waits = _wait.Read(invocation, out var timeout);
        invocation.Streaming = waits;
        var request = new Protocol.V1.CloneInstanceRequest
        {
            Project = invocation.Project,
            Instance = invocation.Get(_source)!,
            Name = invocation.Get(_name)!,
            Snapshot = invocation.Get(_snapshot) ?? "",
            RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
        };
        foreach (var label in invocation.Get(_labels) ?? [])
        {
            var equals = label.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw CtlException.Usage($"--label: '{label}' is not KEY=VALUE.");
            }

            request.Labels[label[..equals]] = label[(equals + 1)..];
        }

        var instance = await invocation.CallAsync(options => invocation.Compute.CloneInstanceAsync(request, options), cancellationToken);
        if (waits)
        {
            using var waiter = new InstanceWaiter(invocation, timeout);
            instance = await waiter.WaitAsync(new(instance), cancellationToken);
        }

        InstanceResult.Write(invocation, printer, instance, "created", showState: waits);
        return ExitCode.Done;
    }
}
