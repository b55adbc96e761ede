using System.CommandLine;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class ListCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();
    private readonly Option<bool> _watch = CommonOptions.Watch();
    private readonly Option<bool> _all = CommonOptions.AllProjects();
    private readonly Option<string> _selector = CommonOptions.Selector();

    public override void Declare(Command command)
    {
        command.Add(_selector);
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
        var layout = GroupLayouts.Groups(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide, project == "-");
        if (invocation.Streaming)
        {
            var request = new WatchGroupsRequest { Project = project, LabelSelector = invocation.Get(_selector) ?? "" };
            await Show(invocation, printer, layout).RunAsync(Watches.Groups(invocation, request).RunAsync(cancellationToken), cancellationToken);
        }

        var answer = await Pages.ReadAsync(
            (token, options) => invocation.Groups.ListGroupsAsync(
                new()
                {
                    Project = project,
                    PageSize = Limits.PageSize,
                    PageToken = token,
                    LabelSelector = invocation.Get(_selector) ?? "",
                    Consistency = consistency,
                },
                options),
            page => page.List,
            static (all, page) => all.Groups.Add(page.Groups),
            invocation,
            cancellationToken);
        _freshness.Tell(invocation, answer.List);
        return ListOutput.Write(
            invocation, printer, answer, answer.Groups, layout, g => g.Metadata.Name,
            "No groups. 'hypervisor-ctl group create --help' shows how to make one.");
    }

    /// <summary>Numbers of members change without the group's version.</summary>
    private static WatchPrinter<Group> Show(Invocation invocation, Printer printer, TableLayout<Group> layout) => new(
        invocation.Environment,
        printer,
        layout,
        g => g.Metadata.Uid,
        g => g.Metadata.Name,
        g => g.Metadata.ResourceVersion,
        gone =>
        {
            var last = gone.Clone();
            last.Metadata.DeletedAt ??= new();
            return [.. layout.Row(last).Select(cell => cell.Text == "DELETING" ? new Cell("DELETED") : cell)];
        })
    {
        IsNews = (before, now) => !before.Equals(now),
    };
}
