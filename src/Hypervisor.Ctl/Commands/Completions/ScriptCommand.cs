using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands.Completions;

internal sealed class ScriptCommand(Shell shell) : CtlCommand
{
    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Environment.Out.Write(Scripts.For(shell).ReplaceLineEndings("\n"));
        return Task.FromResult(ExitCode.Done);
    }
}
