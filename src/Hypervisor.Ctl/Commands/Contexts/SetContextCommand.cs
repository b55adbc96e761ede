using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Connection;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Contexts;

/// <summary>Takes the global --server and --project; what is not given stays as it was. The first context is used at once.</summary>
internal sealed class SetContextCommand : CtlCommand
{
    private readonly Argument<string> _name = new("name") { Description = "Name of the context" };

    public override NameKind Completes => NameKind.Contexts;

    public override void Declare(Command command) => command.Add(_name);

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var name = invocation.Get(_name)!;
        if (name.Length == 0)
        {
            throw CtlException.Usage("A context needs a name.");
        }

        var file = ContextFile.Load(invocation.Environment.Variable);
        var before = file.Find(name);
        var server = invocation.ServerGiven ?? before?.Server ?? throw CtlException.Usage($"Context {name} is new and needs --server HOST:PORT.");
        _ = ServerAddress.Parse(server, "--server");
        var context = new Context(name, server, invocation.ProjectGiven ?? before?.Project ?? "");
        var contexts = before is null ? file.Contexts.Append(context) : file.Contexts.Select(c => c.Name == name ? context : c);
        (file with { Contexts = [.. contexts], Current = file.Current ?? name }).Save();
        invocation.Environment.Out.WriteLine($"Context {TerminalText.Clean(name)} {(before is null ? "created" : "changed")}");
        return Task.FromResult(ExitCode.Done);
    }
}
