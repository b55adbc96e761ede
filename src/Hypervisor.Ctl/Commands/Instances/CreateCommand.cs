using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class CreateCommand : CtlCommand
{
    private readonly Argument<string[]> _words = new("name")
    {
        Description = "Name of the instance (or --name); words after -- are the arguments of its process",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<string> _name = new("--name") { Description = "Name of the instance", HelpName = "NAME" };
    private readonly Option<string> _file = new("--file", "-f") { Description = "Specification in YAML or JSON, several documents allowed; - is standard input; flags override it", HelpName = "FILE" };
    private readonly Option<bool> _dryRun = new("--dry-run") { Description = "Validate and place without creating" };
    private readonly Option<bool> _failFast = new("--fail-fast") { Description = "Refuse at once when no node has room, instead of waiting for one" };
    private readonly InstanceFlags _flags = new();
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override void Declare(Command command)
    {
        command.Add(_words);
        command.Add(_name);
        command.Add(_file);
        _flags.AddTo(command);
        command.Add(_dryRun);
        command.Add(_failFast);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var requests = Requests(invocation);
        var dryRun = invocation.Get(_dryRun);
        var waits = _wait.Read(invocation, out var timeout) && !dryRun;
        var printer = invocation.Printer(_output);
        invocation.Streaming = waits;
        var created = new List<Instance>();
        var exitCode = await EachName.RunAsync(requests, request => request.Name, invocation, async request =>
        {
            var instance = await invocation.CallAsync(options => invocation.Compute.CreateInstanceAsync(request, options), cancellationToken);
            if (waits)
            {
                created.Add(instance);
            }
            else
            {
                InstanceResult.Write(invocation, printer, instance, dryRun ? DryRunResult(instance) : "created", showState: false);
            }
        });
        using var waiter = new InstanceWaiter(invocation, timeout);
        var waited = await EachName.RunAsync(created, instance => instance.Metadata.Name, invocation, async instance =>
            InstanceResult.Write(invocation, printer, await waiter.WaitAsync(new(instance), cancellationToken), "created", showState: true));
        return exitCode == ExitCode.Done ? waited : exitCode;
    }

    private static string DryRunResult(Instance instance) => instance.Placement is { Node.Length: > 0 } placement
        ? $"would be created on {placement.Node} (dry run)"
        : $"would be created and stay pending: {instance.Placement?.Message ?? "no node"} (dry run)";

    private IReadOnlyList<CreateInstanceRequest> Requests(Invocation invocation)
    {
        var trailing = invocation.Trailing.Count;
        var words = invocation.Get(_words) ?? [];
        var positional = words[..(words.Length - trailing)];
        if (positional.Length > 1)
        {
            throw CtlException.Usage(
                $"'{positional[1]}' is one name too many.", "Arguments of the instance's process come after --; several instances come from --file.");
        }

        var name = (invocation.Get(_name), positional.FirstOrDefault()) switch
        {
            ({ } flag, { } word) when flag != word => throw CtlException.Usage($"--name {flag} and '{word}' name two instances."),
            var (flag, word) => flag ?? word,
        };
        var file = invocation.Get(_file);
        var requests = file is null ? [new CreateInstanceRequest()] : SpecFile.Read(invocation.Environment, file);
        if (requests.Count > 1 && (name is not null || invocation.Has(_requestId)))
        {
            throw CtlException.Usage($"{file} holds {requests.Count} instances: neither a name nor --request-id can be given for all of them.");
        }

        foreach (var request in requests)
        {
            _flags.Apply(invocation, request);
            request.Name = name ?? request.Name;
            request.Project = invocation.ProjectGiven ?? (request.Project.Length > 0 ? request.Project : invocation.Project);
            request.DryRun = invocation.Get(_dryRun);
            request.FailFast = invocation.Get(_failFast);
            request.RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId();
            if (request.Name.Length == 0)
            {
                throw CtlException.Usage("The instance needs a name.", "Pass --name NAME, or metadata.name in the file.");
            }
        }

        return requests;
    }
}
