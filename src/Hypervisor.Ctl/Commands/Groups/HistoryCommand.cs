using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class HistoryCommand : CtlCommand
{
    private readonly Argument<string> _name = GroupArguments.One();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Groups;

    public override void Declare(Command command)
    {
        command.Add(_name);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var answer = await invocation.CallAsync(
            options => invocation.Groups.ListGroupRevisionsAsync(new() { Project = invocation.Project, Group = invocation.Get(_name)! }, options), cancellationToken);
        return ListOutput.Write(
            invocation, invocation.Printer(_output), answer, answer.Revisions, GroupLayouts.Revisions(invocation.Environment.Time.GetUtcNow()),
            revision => revision.Revision.ToString(CultureInfo.InvariantCulture), "No revisions.");
    }
}
