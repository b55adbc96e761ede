using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>What the kernel counts of a group of processes: a pure reading of the files of both cgroup versions.</summary>
internal static class CgroupStatistics
{
    /// <summary>A memory limit that is none: v1 shows the largest number of pages.</summary>
    private const long NoLimit = 1L << 60;

    /// <param name="directories">The group's folder in each hierarchy.</param>
    public static void Read(IEnumerable<string> directories, InstanceStats stats)
    {
        foreach (var directory in directories)
        {
            ReadCpu(directory, stats);
            ReadMemory(directory, stats);
            if (Number(directory, "pids.current") is { } pids)
            {
                stats.Pids = pids;
                stats.PidsLimit = Number(directory, "pids.max") ?? 0;
            }

            ReadBlock(directory, stats);
        }
    }

    /// <summary>/proc/PID/net/dev: the interfaces of the process's own network namespace.</summary>
    public static NetworkStats? ReadNetwork(IEnumerable<string> lines)
    {
        var sum = new NetworkStats();
        var any = false;
        foreach (var parts in lines.Skip(2).Select(line => line.Split([' ', ':'], StringSplitOptions.RemoveEmptyEntries)))
        {
            if (parts.Length < 11 || parts[0] == "lo")
            {
                continue;
            }

            any = true;
            sum.ReceivedBytes += Parse(parts[1]) ?? 0;
            sum.ReceivedPackets += Parse(parts[2]) ?? 0;
            sum.SentBytes += Parse(parts[9]) ?? 0;
            sum.SentPackets += Parse(parts[10]) ?? 0;
        }

        return any ? sum : null;
    }

    private static void ReadCpu(string directory, InstanceStats stats)
    {
        const long nanosecondsPerTick = 100;
        if (Number(directory, "cpuacct.usage") is { } nanoseconds)
        {
            stats.CpuTime = Duration.FromTimeSpan(TimeSpan.FromTicks(nanoseconds / nanosecondsPerTick));
        }
        else if (Field(directory, "cpu.stat", "usage_usec") is { } microseconds)
        {
            stats.CpuTime = Duration.FromTimeSpan(TimeSpan.FromMicroseconds(microseconds));
        }
    }

    private static void ReadMemory(string directory, InstanceStats stats)
    {
        var unified = Number(directory, "memory.current");
        if ((unified ?? Number(directory, "memory.usage_in_bytes")) is not { } used)
        {
            return;
        }

        var limit = Number(directory, unified is null ? "memory.limit_in_bytes" : "memory.max") ?? 0;
        stats.MemoryBytes = Math.Max(0, used - (Field(directory, "memory.stat", unified is null ? "total_inactive_file" : "inactive_file") ?? 0));
        stats.MemoryLimitBytes = limit < NoLimit ? limit : 0;
    }

    private static void ReadBlock(string directory, InstanceStats stats)
    {
        // v1: "8:0 Read 4096"; v2: "8:0 rbytes=4096 wbytes=0 …".
        string[] legacy = Lines(directory, "blkio.throttle.io_service_bytes_recursive");
        legacy = legacy.Length > 0 ? legacy : Lines(directory, "blkio.throttle.io_service_bytes");
        if (legacy.Length > 0)
        {
            var parts = legacy.Select(line => line.Split(' ')).Where(words => words.Length == 3).ToList();
            stats.Block = new BlockStats
            {
                ReadBytes = parts.Where(words => words[1] == "Read").Sum(words => Parse(words[2]) ?? 0),
                WrittenBytes = parts.Where(words => words[1] == "Write").Sum(words => Parse(words[2]) ?? 0),
            };
        }
        else if (File.Exists(Path.Combine(directory, "io.stat")))
        {
            var pairs = Lines(directory, "io.stat").SelectMany(line => line.Split(' ')).Select(word => word.Split('=')).Where(pair => pair.Length == 2).ToList();
            stats.Block = new BlockStats
            {
                ReadBytes = pairs.Where(pair => pair[0] == "rbytes").Sum(pair => Parse(pair[1]) ?? 0),
                WrittenBytes = pairs.Where(pair => pair[0] == "wbytes").Sum(pair => Parse(pair[1]) ?? 0),
            };
        }
    }

    private static long? Field(string directory, string file, string name) =>
        Lines(directory, file).Where(line => line.StartsWith(name + " ", StringComparison.Ordinal)).Select(line => Parse(line[(name.Length + 1)..])).FirstOrDefault();

    private static long? Number(string directory, string file) => Lines(directory, file) is [var line, ..] ? Parse(line) : null;

    private static long? Parse(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static string[] Lines(string directory, string file)
    {
        try
        {
            var path = Path.Combine(directory, file);
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (IOException)
        {
            // The group went away between the two calls.
            return [];
        }
    }
}
