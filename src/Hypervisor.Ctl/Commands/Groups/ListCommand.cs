using System.CommandLine;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class ListCommand : CtlCommand
{
    private readonly Option<OutputFormat> _output = CommonOptions.Output();
    private readonly Freshness _freshness = new();
    private readonly Option<bool> _all = CommonOptions.AllProjects();
    private readonly Option<string> _selector = CommonOptions.Selector();

    public override void Declare(Command command)
    {
        command.Add(_selector);
        command.Add(_all);
        command.Add(_freshness.Option);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var consistency = _freshness.Of(invocation);
        var printer = invocation.Printer(_output);
        var project = invocation.Get(_all) ? "-" : invocation.Project;
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
            invocation, printer, answer, answer.Groups,
            GroupLayouts.Groups(invocation.Environment.Time.GetUtcNow(), printer.Format == OutputFormat.Wide, project == "-"), g => g.Metadata.Name,
            "No groups. 'hypervisor-ctl group create --help' shows how to make one.");
    }
}
