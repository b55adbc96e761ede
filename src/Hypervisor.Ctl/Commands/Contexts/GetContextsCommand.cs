using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Contexts;

internal sealed class GetContextsCommand : CtlCommand
{
    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var file = ContextFile.LoadIfPresent(invocation.Environment.Variable);
        if (file is null || file.Contexts.Count == 0)
        {
            invocation.Environment.Error.WriteLine("No contexts. 'hypervisor-ctl config set-context NAME --server HOST:PORT' makes one.");
            return Task.FromResult(ExitCode.Done);
        }

        new Printer(invocation.Environment, OutputFormat.Table).Table(["CURRENT", "NAME", "SERVER", "PROJECT"]).Write(
        [
            .. file.Contexts.Select(context => new Cell[]
            {
                context.Name == file.Current ? "*" : new Cell(""), context.Name, context.Server, context.Project,
            }),
        ]);
        return Task.FromResult(ExitCode.Done);
    }
}
