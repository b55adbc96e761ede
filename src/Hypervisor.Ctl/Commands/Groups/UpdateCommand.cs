using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

/// <summary>
/// Reads the group, applies the flags and sends what they set, bound to the version that was read, so that no concurrent change is overwritten.
/// </summary>
internal sealed class UpdateCommand : CtlCommand
{
    private readonly Argument<string[]> _words = GroupArguments.Several();
    private readonly GroupFlags _flags = new();
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Groups;

    public override void Declare(Command command)
    {
        command.Add(_words);
        _flags.AddTo(command);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var words = invocation.Get(_words)!;
        if (words.Length - invocation.Trailing.Count != 1)
        {
            throw CtlException.Usage("One group is updated at a time.", "Arguments of its members' process come after --.");
        }

        var waits = _wait.Read(invocation, out var timeout);
        var group = await UpdateAsync(invocation, words[0], cancellationToken);
        if (waits)
        {
            using var waiter = new GroupWaiter(invocation, timeout);
            group = await waiter.WaitAsync(group, deleted: false, cancellationToken);
        }

        GroupResult.Write(invocation, invocation.Printer(_output), group, waits ? "updated" : "will be updated", showState: waits);
        return ExitCode.Done;
    }

    private async Task<Group> UpdateAsync(Invocation invocation, string name, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            var current = await invocation.CallAsync(
                options => invocation.Groups.GetGroupAsync(new() { Project = invocation.Project, Group = name }, options), cancellationToken);
            var metadata = new ObjectMeta { Name = current.Metadata.Uid, Project = current.Metadata.Project, ResourceVersion = current.Metadata.ResourceVersion };
            var wished = new Group { Metadata = metadata, Spec = current.Spec.Clone() };
            var paths = _flags.Apply(invocation, wished.Spec);
            if (paths.Count == 0)
            {
                throw CtlException.Usage("Nothing to change: no flag was given.");
            }

            var request = new UpdateGroupRequest
            {
                Group = wished,
                UpdateMask = new FieldMask { Paths = { paths } },
                RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
            };
            try
            {
                return await invocation.CallAsync(options => invocation.Groups.UpdateGroupAsync(request, options), cancellationToken);
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.Aborted && attempt < Limits.ChangeAttempts)
            {
                // Somebody changed the group after it was read, or it got on; the next round reads what they wrote.
            }
        }
    }
}
