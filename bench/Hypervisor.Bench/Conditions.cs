using System.Diagnostics;
using System.Globalization;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>What a figure has to be read with: how busy the machine was, and how long its disk takes to promise something.</summary>
internal static class Conditions
{
    private const int Syncs = 200;
    private const int BytesPerSync = 4096;

    public static void Print()
    {
        var load = File.ReadAllText("/proc/loadavg").Split(' ')[0];
        Metric.Print("machine.load_1m", double.Parse(load, CultureInfo.InvariantCulture), "processes");
        Metric.Print("machine.fdatasync_p50_ms", Metric.Median(DataSyncs()), "ms");
    }

    /// <summary>Appends in the folder in which the benchmarks put their clusters.</summary>
    private static double[] DataSyncs()
    {
        var path = $"/tmp/hvt-{Environment.ProcessId:x}-fdatasync";
        using var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write, options: FileOptions.DeleteOnClose);
        var times = new double[Syncs];
        var page = new byte[BytesPerSync];
        for (var sync = 0; sync < Syncs; sync++)
        {
            RandomAccess.Write(file, page, (long)sync * BytesPerSync);
            var started = Stopwatch.GetTimestamp();
            Linux.DataSync(file);
            times[sync] = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        }

        return times;
    }
}
