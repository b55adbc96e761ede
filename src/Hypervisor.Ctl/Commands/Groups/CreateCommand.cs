using System.CommandLine;
using Hypervisor.Ctl.Commands.Instances;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class CreateCommand : CtlCommand
{
    private readonly Argument<string[]> _words = new("name")
    {
        Description = "Name of the group; words after -- are the arguments of its members' process",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<string> _file = new("--file", "-f")
    {
        Description = "Specification in YAML or JSON, several documents allowed; - is standard input; flags override it",
        HelpName = "FILE",
    };

    private readonly GroupFlags _flags = new();
    private readonly WaitOptions _wait = new();
    private readonly Option<string> _requestId = CommonOptions.RequestId();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override void Declare(Command command)
    {
        command.Add(_words);
        command.Add(_file);
        _flags.AddTo(command);
        _wait.AddTo(command);
        command.Add(_requestId);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var requests = Requests(invocation);
        var waits = _wait.Read(invocation, out var timeout);
        var printer = invocation.Printer(_output);
        var created = new List<Group>();
        var exitCode = await EachName.RunAsync(requests, request => request.Name, invocation, async request =>
        {
            var group = await invocation.CallAsync(options => invocation.Groups.CreateGroupAsync(request, options), cancellationToken);
            if (waits)
            {
                created.Add(group);
            }
            else
            {
                GroupResult.Write(invocation, printer, group, "created", showState: false);
            }
        });
        using var waiter = new GroupWaiter(invocation, timeout);
        var waited = await EachName.RunAsync(created, group => group.Metadata.Name, invocation, async group =>
            GroupResult.Write(invocation, printer, await waiter.WaitAsync(group, deleted: false, cancellationToken), "created", showState: true));
        return exitCode == ExitCode.Done ? waited : exitCode;
    }

    private IReadOnlyList<CreateGroupRequest> Requests(Invocation invocation)
    {
        var words = invocation.Get(_words) ?? [];
        var names = words[..(words.Length - invocation.Trailing.Count)];
        if (names.Length > 1)
        {
            throw CtlException.Usage(
                $"'{names[1]}' is one name too many.", "Arguments of the members' process come after --; several groups come from --file.");
        }

        var file = invocation.Get(_file);
        var requests = file is null ? [new CreateGroupRequest { Spec = new() { Count = 1 } }] : SpecFile.ReadGroups(invocation.Environment, file);
        if (requests.Count > 1 && (names.Length > 0 || invocation.Has(_requestId)))
        {
            throw CtlException.Usage($"{file} holds {requests.Count} groups: neither a name nor --request-id can be given for all of them.");
        }

        foreach (var request in requests)
        {
            _flags.Apply(invocation, request.Spec);
            request.Name = names.FirstOrDefault() ?? request.Name;
            request.Project = invocation.ProjectGiven ?? (request.Project.Length > 0 ? request.Project : invocation.Project);
            request.RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId();
            if (request.Name.Length == 0)
            {
                throw CtlException.Usage("The group needs a name.", "Write it after 'create', or as metadata.name in the file.");
            }
        }

        return requests;
    }
}
