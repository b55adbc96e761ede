using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class DeleteCommand : CtlCommand
{
    private readonly Argument<string[]> _names = NodeArguments.Several();
    private readonly Option<bool> _fenced = new("--fenced")
    {
        Description = "You vouch that the machine is off; the instances it holds are given up",
    };

    public override NameKind Completes => NameKind.Nodes;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_fenced);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken) =>
        EachName.RunAsync(invocation.Get(_names)!, name => name, invocation, async name =>
        {
            await invocation.CallAsync(
                options => invocation.Cluster.DeregisterNodeAsync(new() { Node = name, Fenced = invocation.Get(_fenced) }, options),
                cancellationToken);
            invocation.Environment.Out.WriteLine($"{TerminalText.Clean(name)} removed");
        });
}
