using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

/// <summary>Sets what operators decide about nodes.</summary>
internal abstract class SchedulingCommand(NodeScheduling scheduling, string pastTense) : CtlCommand
{
    private readonly Argument<string[]> _names = NodeArguments.Several();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Nodes;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_output);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        return EachName.RunAsync(invocation.Get(_names)!, name => name, invocation, async name =>
        {
            // Only this resolves a beginning of an id; the update itself wants the name.
            var node = await invocation.CallAsync(options => invocation.Cluster.GetNodeAsync(new() { Node = name }, options), cancellationToken);
            var request = new UpdateNodeRequest
            {
                Node = new() { Metadata = new() { Name = node.Metadata.Name }, Spec = new() { Scheduling = scheduling } },
                UpdateMask = new() { Paths = { "spec.scheduling" } },
                RequestId = invocation.NewRequestId(),
            };
            var updated = await invocation.CallAsync(options => invocation.Cluster.UpdateNodeAsync(request, options), cancellationToken);
            if (printer.ForPeople)
            {
                printer.WriteLine($"{updated.Metadata.Name} {pastTense}");
                if (Layouts.Drain(updated) is { Length: > 0 } drain)
                {
                    printer.WriteLine($"{drain} 'hypervisor-ctl node get {updated.Metadata.Name}' says how far it is.");
                }
            }
            else if (printer.Format == OutputFormat.Name)
            {
                printer.WriteName(updated.Metadata.Name);
            }
            else
            {
                printer.WriteDocument(updated);
            }
        });
    }
}
