using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Contexts;

internal sealed class UseContextCommand : CtlCommand
{
    private readonly Argument<string> _name = new("name") { Description = "Name of the context" };

    public override NameKind Completes => NameKind.Contexts;

    public override void Declare(Command command) => command.Add(_name);

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var file = ContextFile.Load(invocation.Environment.Variable);
        var context = file.Find(invocation.Get(_name)!) ?? throw ContextErrors.NotFound(file, invocation.Get(_name)!);
        (file with { Current = context.Name }).Save();
        invocation.Environment.Out.WriteLine($"Using context {TerminalText.Clean(context.Name)} ({TerminalText.Clean(context.Server)})");
        return Task.FromResult(ExitCode.Done);
    }
}
