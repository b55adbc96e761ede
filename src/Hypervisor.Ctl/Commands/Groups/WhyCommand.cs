using System.CommandLine;
using System.Globalization;
using Google.Protobuf.Collections;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Groups;

internal sealed class WhyCommand : CtlCommand
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
        var printer = invocation.Printer(_output);
        var receipt = await invocation.CallAsync(
            options => invocation.Groups.ExplainGroupAsync(new() { Project = invocation.Project, Group = invocation.Get(_name)! }, options), cancellationToken);
        if (printer.Format == OutputFormat.Name)
        {
            receipt.Places.ToList().ForEach(place => printer.WriteName(place.Node));
        }
        else if (!printer.ForPeople)
        {
            printer.WriteDocument(receipt);
        }
        else
        {
            Write(invocation, printer, receipt);
        }

        return ExitCode.Done;
    }

    private static void Write(Invocation invocation, Printer printer, GroupReceipt receipt)
    {
        printer.WriteLine(receipt.Message);
        if (receipt.Places.Count > 0)
        {
            invocation.Environment.Out.WriteLine();
            printer.Table(["NODE", "ZONE", "MEMBERS"]).Write(
                [.. receipt.Places.Select(place => new Cell[] { place.Node, $"{place.Region}/{place.Zone}".Trim('/'), Number(place.Members) })]);
        }

        Write(invocation, printer, "WAITING", receipt.Waiting);
        Write(invocation, printer, "NOT READY", receipt.Unready);
    }

    private static void Write(Invocation invocation, Printer printer, string title, RepeatedField<GroupWait> reasons)
    {
        if (reasons.Count > 0)
        {
            invocation.Environment.Out.WriteLine();
            printer.Table([title, "REASON", "EXAMPLES", "MESSAGE"]).Write(
                [.. reasons.Select(wait => new Cell[] { Number(wait.Members), wait.Reason, string.Join(", ", wait.Examples), wait.Message })]);
        }
    }

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
}
