using System.CommandLine;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands;

internal sealed class EventsCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();
    private readonly Option<bool> _watch = CommonOptions.Watch();
    private readonly Option<bool> _all = CommonOptions.AllProjects();
    private readonly Option<string> _instance = new("--instance") { Description = "Only of this instance", HelpName = "NAME" };
    private readonly Option<string> _group = new("--group") { Description = "Only of this group itself", HelpName = "NAME" };
    private readonly Option<string> _node = new("--node") { Description = "Only of this node", HelpName = "NAME" };

    public override void Declare(Command command)
    {
        command.Add(_instance);
        command.Add(_group);
        command.Add(_node);
        command.Add(_all);
        command.Add(_watch);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = invocation.Get(_watch);
        var project = invocation.Get(_all) ? "-" : invocation.Project;
        var consistency = _freshness.Of(invocation);
        var uid = await ObjectUidAsync(invocation, cancellationToken);
        var printer = invocation.Printer(_output);
        var layout = Layouts.Events(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide);
        if (invocation.Streaming)
        {
            var watch = Watches.Events(invocation, new() { Project = project, ObjectUid = uid });
            var show = new WatchPrinter<Event>(
                invocation.Environment, printer, layout, e => e.Uid, e => e.Uid, e => e.ResourceVersion, layout.Row);
            await show.RunAsync(watch.RunAsync(cancellationToken), cancellationToken);
        }

        var answer = await Pages.ReadAsync(
            (token, options) => invocation.Cluster.ListEventsAsync(
                new() { Project = project, ObjectUid = uid, PageSize = Limits.PageSize, PageToken = token, Consistency = consistency }, options),
            page => page.List,
            static (all, page) => all.Events.Add(page.Events),
            invocation,
            cancellationToken);
        _freshness.Tell(invocation, answer.List);
        return ListOutput.Write(invocation, printer, answer, answer.Events, layout, e => e.Uid, "No events.");
    }

    private async Task<string> ObjectUidAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        if (invocation.Get(_instance) is { } instance)
        {
            var found = await invocation.CallAsync(
                options => invocation.Compute.GetInstanceAsync(new() { Project = invocation.Project, Instance = instance, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            return found.Metadata.Uid;
        }

        if (invocation.Get(_group) is { } group)
        {
            var found = await invocation.CallAsync(
                options => invocation.Groups.GetGroupAsync(new() { Project = invocation.Project, Group = group, Consistency = _freshness.Of(invocation) }, options),
                cancellationToken);
            return found.Metadata.Uid;
        }

        if (invocation.Get(_node) is { } node)
        {
            var found = await invocation.CallAsync(options => invocation.Cluster.GetNodeAsync(new() { Node = node, Consistency = _freshness.Of(invocation) }, options), cancellationToken);
            return found.Metadata.Uid;
        }

        return "";
    }
}
