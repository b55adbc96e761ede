using System.CommandLine;
using Grpc.Core;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>
/// Changes part of what is written about one node: reads it and sends the whole of it back, bound to the version that was read.
/// Where an update of an instance leaves it to the user to look again, this begins again by itself: what was typed names what to add and
/// what to remove, and means the same for the newer version.
/// </summary>
internal abstract class ChangeCommand : CtlCommand
{
    private readonly Argument<string> _node = NodeArguments.One();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Nodes;

    public override void Declare(Command command)
    {
        command.Add(_node);
        DeclareChange(command);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var change = Read(invocation);
        var (before, after) = await UpdateAsync(invocation, change, cancellationToken);
        var outcome = change.Outcome(before, after);
        if (printer.ForPeople)
        {
            printer.WriteLine($"{after.Metadata.Name} {outcome}");
        }
        else if (printer.Format == OutputFormat.Name)
        {
            printer.WriteName(after.Metadata.Name);
        }
        else
        {
            printer.WriteDocument(after);
        }

        return Errors.ExitCode.Done;
    }

    /// <summary>Adds what comes after the node.</summary>
    protected abstract void DeclareChange(Command command);

    /// <exception cref="Errors.CtlException">It is not understood; nothing was asked of the server.</exception>
    protected abstract NodeChange Read(Invocation invocation);

    private async Task<(Node Before, Node After)> UpdateAsync(Invocation invocation, NodeChange change, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            var before = await invocation.CallAsync(
                options => invocation.Cluster.GetNodeAsync(new() { Node = invocation.Get(_node) }, options), cancellationToken);
            var node = before.Clone();
            node.Spec ??= new();
            change.Apply(node);
            var request = new UpdateNodeRequest
            {
                Node = new()
                {
                    Metadata = new()
                    {
                        Name = node.Metadata.Name,
                        Uid = node.Metadata.Uid,
                        ResourceVersion = node.Metadata.ResourceVersion,
                        Labels = { node.Metadata.Labels },
                    },
                    Spec = node.Spec,
                },
                UpdateMask = new() { Paths = { change.Paths } },
                RequestId = invocation.NewRequestId(),
            };
            try
            {
                return (before, await invocation.CallAsync(options => invocation.Cluster.UpdateNodeAsync(request, options), cancellationToken));
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.Aborted && attempt < Limits.ChangeAttempts)
            {
                // Somebody changed the node after it was read; the next round reads what they wrote.
            }
        }
    }
}
