using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class WhyCommand : CtlCommand
{
    private readonly Argument<string> _name = InstanceArguments.One();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_name);
        command.Add(_output);
    }

    public override async Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        var name = invocation.Get(_name)!;
        var receipt = await invocation.CallAsync(
            options => invocation.Compute.ExplainInstanceAsync(new() { Project = invocation.Project, Instance = name }, options),
            cancellationToken);
        if (printer.Format == OutputFormat.Name)
        {
            printer.WriteName(receipt.Node);
        }
        else if (!printer.ForPeople)
        {
            printer.WriteDocument(receipt);
        }
        else
        {
            Write(invocation, printer, receipt, name);
        }

        return ExitCode.Done;
    }

    private static void Write(Invocation invocation, Printer printer, PlacementReceipt receipt, string name)
    {
        var output = invocation.Environment.Out;
        printer.WriteLine(receipt.Message.Length > 0
            ? receipt.Message
            : receipt.Node.Length > 0 ? $"{name} was placed on {receipt.Node}." : $"{name} has no node.");
        printer.WriteDetails(
            ("Node", receipt.Node),
            ("Decided", Readable.Time(receipt.DecidedAt)),
            ("Strategy", receipt.Strategy == PlacementStrategy.Unspecified ? "" : receipt.Strategy.ToString().ToLowerInvariant()),
            ("Considered", $"{receipt.NodesConsidered} node{(receipt.NodesConsidered == 1 ? "" : "s")}"));
        if (receipt.Filters.Count > 0)
        {
            output.WriteLine();
            printer.Table(["FILTER", "REMOVED", "EXAMPLES"]).Write(
            [
                .. receipt.Filters.Select(f => new Cell[]
                {
                    f.Filter, f.NodesRemoved.ToString(CultureInfo.InvariantCulture), string.Join("; ", f.Examples),
                }),
            ]);
        }

        if (receipt.Remedies.Count > 0)
        {
            output.WriteLine();
            printer.WriteLine("Would help:");
            foreach (var remedy in receipt.Remedies)
            {
                printer.WriteLine($"  {remedy.Text}");
            }
        }

        if (receipt.Candidates.Count > 0)
        {
            output.WriteLine();
            printer.Table(["CANDIDATE", "SCORE", "PARTS"]).Write(
            [
                .. receipt.Candidates.Select(c => new Cell[]
                {
                    c.Node,
                    c.Score.ToString("0.000", CultureInfo.InvariantCulture),
                    string.Join(", ", c.Parts.OrderBy(p => p.Key, StringComparer.Ordinal)
                        .Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.Key} {p.Value:0.000}"))),
                }),
            ]);
        }
    }
}
