using System.CommandLine;
using System.Globalization;
using Hypervisor.Ctl.Completion;
using Hypervisor.Ctl.Output;

namespace Hypervisor.Ctl.Commands.Instances;

internal sealed class StatsCommand : CtlCommand
{
    private readonly Argument<string[]> _names = InstanceArguments.Several();
    private readonly Option<OutputFormat> _output = CommonOptions.Output();

    public override NameKind Completes => NameKind.Instances;

    public override void Declare(Command command)
    {
        command.Add(_names);
        command.Add(_output);
    }

    public override Task<int> RunAsync(Invocation invocation, CancellationToken cancellationToken)
    {
        var printer = invocation.Printer(_output);
        TableWriter? table = null;
        return EachName.RunAsync(invocation.Get(_names)!, name => name, invocation, async name =>
        {
            var stats = await invocation.CallAsync(
                options => invocation.Compute.GetInstanceStatsAsync(new() { Project = invocation.Project, Instance = name }, options),
                cancellationToken);
            if (printer.Format == OutputFormat.Name)
            {
                printer.WriteName(name);
            }
            else if (!printer.ForPeople)
            {
                printer.WriteDocument(stats);
            }
            else
            {
                Cell[] row =
                [
                    name,
                    string.Create(CultureInfo.InvariantCulture, $"{stats.CpuTime?.ToTimeSpan().TotalSeconds ?? 0:0.0}s"),
                    Readable.Bytes(stats.MemoryBytes),
                    Readable.Bytes(stats.MemoryLimitBytes),
                    stats.Pids.ToString(CultureInfo.InvariantCulture),
                ];
                if (table is null)
                {
                    table = printer.Table(["NAME", "CPU-TIME", "MEMORY", "LIMIT", "PIDS"]);
                    table.Write([row]);
                }
                else
                {
                    table.Append(row);
                }
            }
        });
    }
}
