using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>
/// Reads the instance, applies the flags and sends what they set, bound to the version that was read: a concurrent change is
/// refused instead of overwritten.
/// </summary>
internal sealed class UpdateCommand : CtlCommand
{
    private readonly Argument<string[]> _words = InstanceArguments.Several();
    private readonly InstanceFlags _flags = new();
    private readonly Option<bool> _dryRun = new("--dry-run") { Description = "Validate without changing anything" };
    private readonly Option<bool> _allowRestart = new("--allow-restart")
    {
        Description = "Restart the instance when something of the update needs it",
    };

    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_words);
        _flags.AddTo(command);
        command.Add(_dryRun);
        command.Add(_allowRestart);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var words = invocation.Get(_words)!;
        if (words.Length - invocation.Trailing.Count != 1)
        {
            throw CtlException.Usage("One instance is updated at a time.", "Arguments of its process come after --.");
        }

        var dryRun = invocation.Get(_dryRun);
        var waits = _wait.Read(invocation, out var timeout) && !dryRun;
        invocation.Streaming = waits;
        var current = await invocation.CallAsync(
            options => invocation.Compute.GetInstanceAsync(new() { Project = invocation.Project, Instance = words[0] }, options),
            cancellationToken);
        var changed = new CreateInstanceRequest
        {
            Labels = { current.Metadata.Labels },
            Annotations = { current.Metadata.Annotations },
            Spec = current.Spec.Clone(),
        };
        var paths = _flags.Apply(invocation, changed);
        if (paths.Count == 0)
        {
            throw CtlException.Usage("Nothing to change: no flag was given.");
        }

        var request = new UpdateInstanceRequest
        {
            Instance = new()
            {
                Metadata = new()
                {
                    Name = current.Metadata.Name,
                    Project = current.Metadata.Project,
                    Uid = current.Metadata.Uid,
                    ResourceVersion = current.Metadata.ResourceVersion,
                    Labels = { changed.Labels },
                    Annotations = { changed.Annotations },
                },
                Spec = changed.Spec,
            },
            UpdateMask = new FieldMask { Paths = { paths } },
            RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
            DryRun = dryRun,
            AllowRestart = invocation.Get(_allowRestart),
        };
        var answer = await invocation.CallAsync(options => invocation.Compute.UpdateInstanceAsync(request, options), cancellationToken);
        var updated = answer.Instance;
        if (waits)
        {
            using var waiter = new InstanceWaiter(invocation, timeout);
            updated = await waiter.WaitAsync(new(updated), cancellationToken);
        }

        InstanceResult.Write(
            invocation, invocation.Printer(_output), updated, What(dryRun, answer), showState: waits);
        return ExitCode.Done;
    }

    private static string What(bool dryRun, UpdateInstanceResponse answer)
    {
        var fields = string.Join(", ", answer.RestartRequired);
        return (dryRun, fields.Length > 0) switch
        {
            (true, true) => $"would be updated with a restart, which these need: {fields} (dry run)",
            (true, false) => "would be updated without a restart (dry run)",
            (false, true) => $"updated, and is restarted for {fields}",
            (false, false) => "updated",
        };
    }
}
