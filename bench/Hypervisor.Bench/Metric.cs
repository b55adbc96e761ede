using System.Diagnostics;
using System.Globalization;

namespace Hypervisor.Bench;

/// <summary>The form in which results are printed, and the statistics they are made with.</summary>
internal static class Metric
{
    public static void Print(string name, double value, string unit) => Print(Console.Out, name, value, unit);

    public static void Print(TextWriter output, string name, double value, string unit) =>
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"metric {name} {value:0.###} {unit}"));

    public static double Median(IReadOnlyList<double> values) => Percentile(values, 0.5);

    public static double Percentile(IReadOnlyList<double> values, double share)
    {
        var sorted = values.Order().ToArray();
        var position = share * (sorted.Length - 1);
        var below = (int)position;
        return below + 1 < sorted.Length
            ? sorted[below] + ((position - below) * (sorted[below + 1] - sorted[below]))
            : sorted[below];
    }

    /// <summary>Wall-clock milliseconds.</summary>
    public static async Task<double> TimeAsync(Func<Task> action)
    {
        var started = Stopwatch.GetTimestamp();
        await action();
        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }
}
