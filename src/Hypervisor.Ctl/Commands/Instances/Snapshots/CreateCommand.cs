using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances.Snapshots;

internal sealed class CreateCommand : SnapshotCommand
{
    private readonly Option<bool> _memory = new("--memory") { Description = "With the memory of the running guest, so that a restore goes on from here" };

    protected override string PastTense => "taken";

    public override void Declare(Command command)
    {
        base.Declare(command);
        command.Add(_memory);
    }

    protected override AsyncUnaryCall<Instance> Call(Invocation invocation, string instance, string snapshot, string requestId, CallOptions options) =>
        invocation.Compute.CreateSnapshotAsync(
            new() { Project = invocation.Project, Instance = instance, Name = snapshot, Memory = invocation.Get(_memory), RequestId = requestId }, options);

    protected override string? Failure(Instance done, string snapshot) => StatusOf(done, snapshot) switch
    {
        { State: SnapshotState.Failed } failed => $"snapshot {snapshot} of {done.Metadata.Name} was not taken ({failed.Reason}: {failed.Message.TrimEnd('.')}).",
        _ => null,
    };

    protected override string Result(Instance done, string snapshot) =>
        StatusOf(done, snapshot) is { SizeBytes: > 0 } taken ? $" ({Readable.Bytes(taken.SizeBytes)})" : "";
}
