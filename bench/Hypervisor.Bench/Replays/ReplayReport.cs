using System.Globalization;
using Hypervisor.Hosting.Configuration;

namespace Hypervisor.Bench.Replays;

/// <summary>Results side by side for people, then as lines <c>metric NAME VALUE UNIT</c>.</summary>
internal static class ReplayReport
{
    private static readonly (string Title, Func<ReplayResult, string> Text)[] _columns =
    [
        ("SETTINGS", result => result.Settings.Name),
        ("PLACED", result => Number(result.Placed)),
        ("UNPLACED", result => Number(result.Unplaced)),
        ("PENDING PEAK", result => Number(result.PendingPeak)),
        ("WAIT P99", result => Units.Format(TimeSpan.FromMilliseconds(Math.Round(result.WaitP99.TotalMilliseconds)))),
        ("CPU", result => Share(result.CpuMean)),
        ("CPU PEAK", result => Share(result.CpuPeak)),
        ("MEMORY", result => Share(result.MemoryMean)),
        ("MEMORY PEAK", result => Share(result.MemoryPeak)),
        ("FRAGMENTED", result => Share(result.Fragmentation)),
        ("EMPTY NODES", result => result.EmptyNodes.ToString("0.0", CultureInfo.InvariantCulture)),
    ];

    public static void Print(TextWriter output, IReadOnlyList<ReplayResult> results)
    {
        var lines = results.Select(result => _columns.Select(column => column.Text(result)).ToArray()).Prepend([.. _columns.Select(column => column.Title)]).ToList();
        foreach (var line in lines)
        {
            output.WriteLine(string.Join("   ", line.Select((cell, column) => cell.PadRight(lines.Max(each => each[column].Length)))).TrimEnd());
        }

        foreach (var result in results)
        {
            var name = $"replay.{result.Settings.Name}";
            Metric.Print(output, $"{name}.placed", result.Placed, "instances");
            Metric.Print(output, $"{name}.unplaced", result.Unplaced, "instances");
            Metric.Print(output, $"{name}.pending_peak", result.PendingPeak, "instances");
            Metric.Print(output, $"{name}.wait_p99_s", result.WaitP99.TotalSeconds, "s");
            Metric.Print(output, $"{name}.cpu_mean", result.CpuMean, "share");
            Metric.Print(output, $"{name}.cpu_peak", result.CpuPeak, "share");
            Metric.Print(output, $"{name}.memory_mean", result.MemoryMean, "share");
            Metric.Print(output, $"{name}.memory_peak", result.MemoryPeak, "share");
            Metric.Print(output, $"{name}.fragmentation", result.Fragmentation, "share");
            Metric.Print(output, $"{name}.empty_nodes", result.EmptyNodes, "nodes");
        }
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Share(double value) => value.ToString("0.0 %", CultureInfo.InvariantCulture);
}
