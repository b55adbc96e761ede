using System.CommandLine;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Specs;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class ListCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();
    private readonly Option<bool> _watch = CommonOptions.Watch();
    private readonly Option<bool> _all = CommonOptions.AllProjects();
    private readonly Option<string> _selector = CommonOptions.Selector();
    private readonly Option<string[]> _states = new("--state") { Description = "Only in this state, for example running (repeatable)", HelpName = "STATE" };
    private readonly Option<string[]> _types = new("--type") { Description = "Only of this type (repeatable)", HelpName = "vm|container|microvm" };
    private readonly Option<string> _node = new("--node") { Description = "Only on this node", HelpName = "NAME" };

    public override void Declare(Command command)
    {
        command.Add(_selector);
        command.Add(_states);
        command.Add(_types);
        command.Add(_node);
        command.Add(_all);
        command.Add(_watch);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = invocation.Get(_watch);
        var consistency = _freshness.Of(invocation);
        var printer = invocation.Printer(_output);
        var project = invocation.Get(_all) ? "-" : invocation.Project;
        var states = (invocation.Get(_states) ?? []).Select(EnumWords.Parse<InstanceState>("--state")).ToArray();
        var types = (invocation.Get(_types) ?? []).Select(EnumWords.Parse<InstanceType>("--type")).ToArray();
        var layout = Layouts.Instances(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide, project == "-");
        // json and yaml show everything; a table needs less than a tenth of it.
        var view = printer.Format is OutputFormat.Table or OutputFormat.Name ? InstanceView.Summary : InstanceView.Full;
        if (invocation.Streaming)
        {
            var request = new WatchInstancesRequest
            {
                Project = project,
                LabelSelector = invocation.Get(_selector) ?? "",
                States = { states },
                Types_ = { types },
                Node = invocation.Get(_node) ?? "",
                View = view,
            };
            await Show(invocation, printer, layout).RunAsync(Watches.Instances(invocation, request).RunAsync(cancellationToken), cancellationToken);
        }

        var answer = await Pages.ReadAsync(
            (token, options) => invocation.Compute.ListInstancesAsync(
                new()
                {
                    Project = project,
                    PageSize = Limits.PageSize,
                    PageToken = token,
                    LabelSelector = invocation.Get(_selector) ?? "",
                    States = { states },
                    Types_ = { types },
                    Node = invocation.Get(_node) ?? "",
                    View = view,
                    Consistency = consistency,
                },
                options),
            page => page.List,
            static (all, page) => all.Instances.Add(page.Instances),
            invocation,
            cancellationToken);
        _freshness.Tell(invocation, answer.List);
        return ListOutput.Write(
            invocation, printer, answer, answer.Instances, layout, i => i.Metadata.Name,
            "No instances. 'hypervisor-ctl instance create --help' shows how to make one.");
    }

    private static WatchPrinter<Instance> Show(Invocation invocation, Printer printer, TableLayout<Instance> layout) => new(
        invocation.Environment,
        printer,
        layout,
        i => i.Metadata.Uid,
        i => i.Metadata.Name,
        i => i.Metadata.ResourceVersion,
        gone =>
        {
            var last = gone.Clone();
            last.Status = new() { State = InstanceState.Deleting };
            return [.. layout.Row(last).Select(cell => cell.Text == "DELETING" ? new Cell("DELETED") : cell)];
        });
}
