using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class PurgeCommand : CtlCommand
{
    private readonly Argument<string> _node = NodeArguments.One();
    private readonly Argument<string[]> _instances = NodeArguments.Unclaimed();

    public override NameKind Completes => NameKind.Nodes;

    public override void Declare(Command command)
    {
        command.Add(_node);
        command.Add(_instances);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken) =>
        EachName.RunAsync(invocation.Get(_instances)!, name => name, invocation, async name =>
        {
            var request = new PurgeInstanceRequest { Node = invocation.Get(_node), Instance = name, RequestId = invocation.NewRequestId() };
            var purged = (await invocation.CallAsync(options => invocation.Cluster.PurgeInstanceAsync(request, options), cancellationToken)).Instance;
            invocation.Environment.Out.WriteLine(TerminalText.Clean($"{Layouts.UnclaimedName(purged)} ({purged.Uid}) is purged as soon as the node hears of it"));
        });
}
