using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Contexts;

internal sealed class CurrentContextCommand : CtlCommand
{
    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var current = ContextFile.LoadIfPresent(invocation.Environment.Variable)?.Current
            ?? throw new CtlException(
                ExitCode.Refused, "No context is in use.", "'hypervisor-ctl config use-context NAME' chooses one.");
        invocation.Environment.Out.WriteLine(TerminalText.Clean(current));
        return Task.FromResult(ExitCode.Done);
    }
}
