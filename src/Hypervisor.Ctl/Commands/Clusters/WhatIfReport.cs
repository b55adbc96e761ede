using System.Globalization;
using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Clusters;

/// <summary>The answer to a what-if for people.</summary>
internal static class WhatIfReport
{
    /// <param name="placed">What the instances are called that were to be placed.</param>
    public static void Write(Invocation invocation, Printer printer, WhatIfResponse response, IReadOnlyList<string> placed)
    {
        var output = invocation.Environment.Out;
        printer.WriteLine($"{Change(response)}.");
        var outcomes = Outcomes(response, placed).ToList();
        output.WriteLine();
        printer.Table(["INSTANCES", "COUNT", "FIT", "DO NOT"]).Write(
        [
            .. outcomes.Select(outcome => new Cell[]
            {
                outcome.Title,
                Text(outcome.Outcome.Instances),
                Text(outcome.Outcome.Fitting),
                new(Text(outcome.Outcome.Instances - outcome.Outcome.Fitting), outcome.Outcome.Instances > outcome.Outcome.Fitting ? Tone.Bad : Tone.Good),
            }),
        ]);
        foreach (var (title, outcome) in outcomes)
        {
            foreach (var refusal in outcome.Refusals)
            {
                output.WriteLine();
                printer.WriteLine($"{Text(refusal.Instances)} of {title}: {refusal.Message}");
                printer.WriteLine($"  {string.Join(", ", refusal.Examples)}{(refusal.Instances > refusal.Examples.Count ? ", ..." : "")}");
                foreach (var remedy in refusal.Remedies)
                {
                    printer.WriteLine($"  would help: {remedy.Text}");
                }
            }
        }

        output.WriteLine();
        printer.Table(["ZONE", "NODES", "FREE CPUS", "FREE MEMORY", "FREE DISK"]).Write(
        [
            .. response.Zones.Select(zone => new Cell[]
            {
                $"{zone.Region}/{zone.Zone}".Trim('/'),
                Became(zone.NodesBefore, zone.NodesAfter, value => Text((int)value)),
                Became(zone.FreeBefore.CpuMillicores, zone.FreeAfter.CpuMillicores, Readable.Cpus),
                Became(zone.FreeBefore.MemoryBytes, zone.FreeAfter.MemoryBytes, Readable.Bytes),
                Became(zone.FreeBefore.DiskBytes, zone.FreeAfter.DiskBytes, Readable.Bytes),
            }),
        ]);
        if (response.ZonesTotal > response.Zones.Count)
        {
            printer.WriteLine($"... and {response.ZonesTotal - response.Zones.Count} more zones");
        }
    }

    /// <summary>What was asked about, or has instances, under a name for people.</summary>
    public static IEnumerable<(string Title, WhatIfOutcome Outcome)> Outcomes(WhatIfResponse response, IReadOnlyList<string> placed)
    {
        if (response.NodesLost > 0)
        {
            yield return ("displaced", response.Displaced ?? new());
        }

        if (response.Waiting is { Instances: > 0 })
        {
            yield return ("waiting", response.Waiting);
        }

        foreach (var (index, outcome) in response.Placed.Index())
        {
            yield return (placed[index], outcome);
        }
    }

    private static string Change(WhatIfResponse response) =>
        $"{Count(response.NodesLost, "node")} lost, {response.NodesAdded} added: {Count(response.NodesTotal, "node")} then";

    private static string Count(int count, string what) => $"{count} {what}{(count == 1 ? "" : "s")}";

    private static string Text(int count) => count.ToString(CultureInfo.InvariantCulture);

    private static string Became(long before, long after, Func<long, string> format) =>
        before == after ? format(before) : $"{format(before)} -> {format(after)}";
}
