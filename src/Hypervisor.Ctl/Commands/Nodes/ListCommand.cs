using System.CommandLine;
using Hypervisor.Ctl.Output;
using Hypervisor.Ctl.Watching;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Nodes;

internal sealed class ListCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();
    private readonly Option<bool> _watch = CommonOptions.Watch();
    private readonly Option<string> _selector = CommonOptions.Selector();
    private readonly Option<bool> _unclaimed = new("--unclaimed")
    {
        Description = "List what runs on nodes and the control plane knows nothing about",
    };

    public override void Declare(Command command)
    {
        command.Add(_selector);
        command.Add(_unclaimed);
        command.Add(_watch);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        invocation.Streaming = invocation.Get(_watch);
        var unclaimed = invocation.Get(_unclaimed);
        if (unclaimed && invocation.Streaming)
        {
            throw Errors.CtlException.Usage("--unclaimed and --watch do not go together.", "Leave one of them out.");
        }

        var consistency = _freshness.Of(invocation);
        var printer = invocation.Printer(_output);
        var selector = invocation.Get(_selector) ?? "";
        var layout = Layouts.Nodes(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide);
        if (invocation.Streaming)
        {
            var show = new WatchPrinter<Node>(
                invocation.Environment, printer, layout, n => n.Metadata.Uid, n => n.Metadata.Name, n => n.Metadata.ResourceVersion,
                gone => [gone.Metadata.Name, "DELETED"]);
            await show.RunAsync(Watches.Nodes(invocation, new() { LabelSelector = selector }).RunAsync(cancellationToken), cancellationToken);
        }

        var answer = await Pages.ReadAsync(
            (token, options) => invocation.Cluster.ListNodesAsync(
                new() { PageSize = Limits.PageSize, PageToken = token, LabelSelector = selector, Consistency = consistency }, options),
            page => page.List,
            static (all, page) => all.Nodes.Add(page.Nodes),
            invocation,
            cancellationToken);
        _freshness.Tell(invocation, answer.List);
        if (unclaimed)
        {
            var holders = answer.Nodes.Where(node => node.Status?.Unclaimed.Count > 0).ToList();
            answer.Nodes.Clear();
            answer.Nodes.Add(holders);
            return ListOutput.Write(
                invocation, printer, answer, [.. holders.SelectMany(node => node.Status.Unclaimed.Select(instance => (node, instance)))],
                Layouts.Unclaimed(), row => row.Item2.Uid, "No unclaimed instances.");
        }

        return ListOutput.Write(
            invocation, printer, answer, answer.Nodes, layout, n => n.Metadata.Name,
            "No nodes. Start hypervisor-agent with its server_addr set to this server.");
    }
}
