using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class AdoptCommand : CtlCommand
{
    private readonly Argument<string> _node = NodeArguments.One();
    private readonly Argument<string[]> _instances = NodeArguments.Unclaimed();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Nodes;

    public override void Declare(Command command)
    {
        command.Add(_node);
        command.Add(_instances);
        command.Add(_output);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        return EachName.RunAsync(invocation.Get(_instances)!, name => name, invocation, async name =>
        {
            var request = new AdoptInstanceRequest { Node = invocation.Get(_node), Instance = name, RequestId = invocation.NewRequestId() };
            var instance = await invocation.CallAsync(options => invocation.Cluster.AdoptInstanceAsync(request, options), cancellationToken);
            if (printer.ForPeople)
            {
                printer.WriteLine($"{instance.Metadata.Project}/{instance.Metadata.Name} adopted");
            }
            else if (printer.Format == OutputFormat.Name)
            {
                printer.WriteName(instance.Metadata.Name);
            }
            else
            {
                printer.WriteDocument(instance);
            }
        });
    }
}
