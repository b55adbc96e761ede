using System.CommandLine;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Instances.Snapshots;

internal sealed class ListCommand : CtlCommand
{
    private readonly Argument<string> _instance = InstanceArguments.One();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_instance);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var instance = invocation.Get(_instance)!;
        var answer = await _freshness.CallAsync(
            invocation,
            options => invocation.Compute.ListSnapshotsAsync(
                new() { Project = invocation.Project, Instance = instance, Consistency = _freshness.Of(invocation) }, options),
            cancellationToken);
        var layout = Layouts.Snapshots(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide);
        return ListOutput.Write(
            invocation, printer, answer, answer.Snapshots, layout, snapshot => snapshot.Spec.Name,
            $"No snapshots. 'hypervisor-ctl instance snapshot create {instance} NAME' takes one.");
    }
}
