using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances.Snapshots;

/// <summary>A change of one snapshot of one instance: asked for, then waited for.</summary>
internal abstract class SnapshotCommand : CtlCommand
{
    private readonly Argument<string> _instance = InstanceArguments.One();
    private readonly Argument<string> _snapshot = new("snapshot") { Description = "Name of the snapshot" };
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    /// <summary>As in "snapshot s1 of web will be taken".</summary>
    protected abstract string PastTense { get; }

    public override void Declare(Command command)
    {
        command.Add(_instance);
        command.Add(_snapshot);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var (instance, snapshot) = (invocation.Get(_instance)!, invocation.Get(_snapshot)!);
        var printer = invocation.Printer(_output);
        var waits = _wait.Read(invocation, out var timeout);
        invocation.Streaming = waits;
        var requestId = invocation.Get(_requestId) ?? invocation.NewRequestId();
        var asked = await invocation.CallAsync(options => Call(invocation, instance, snapshot, requestId, options), cancellationToken);
        if (!waits)
        {
            Write(printer, asked, $"snapshot {snapshot} of {asked.Metadata.Name} will be {PastTense}");
            return ExitCode.Done;
        }

        using var waiter = new InstanceWaiter(invocation, timeout);
        var done = await waiter.WaitAsync(new(asked) { WhateverItDoes = true }, cancellationToken);
        if (Failure(done, snapshot) is { } failure)
        {
            throw new CtlException(ExitCode.Refused, failure, $"'hypervisor-ctl instance snapshot list {done.Metadata.Name}' shows what there is.");
        }

        Write(printer, done, $"snapshot {snapshot} of {done.Metadata.Name} {PastTense}{Result(done, snapshot)}");
        return ExitCode.Done;
    }

    protected static SnapshotStatus? StatusOf(Instance instance, string snapshot) =>
        instance.Spec.Snapshots.FirstOrDefault(known => known.Name == snapshot || known.Uid == snapshot) is { } wanted
            ? instance.Status?.Snapshots.FirstOrDefault(status => status.Uid == wanted.Uid)
            : null;

    protected abstract AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string snapshot, string requestId, CallOptions options);

    /// <summary>Why it did not come about, or null.</summary>
    protected virtual string? Failure(Instance done, string snapshot) => null;

    /// <summary>To be added to what is said of a success.</summary>
    protected virtual string Result(Instance done, string snapshot) => "";

    private static void Write(Printer printer, Instance instance, string text)
    {
        switch (printer.Format)
        {
            case OutputFormat.Json or OutputFormat.Yaml:
                printer.WriteDocument(instance);
                break;
            case OutputFormat.Name:
                printer.WriteName(instance.Metadata.Name);
                break;
            default:
                printer.WriteLine(text);
                break;
        }
    }
}
