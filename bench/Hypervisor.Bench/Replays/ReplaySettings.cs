using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Bench.Replays;

/// <summary>How the scheduler is set for one replay.</summary>
/// <param name="Strategy">For instances that name none.</param>
/// <param name="OvercommitCpu">1-16.</param>
/// <param name="OvercommitMemory">Likewise.</param>
internal sealed record ReplaySettings(PlacementStrategy Strategy, double OvercommitCpu, double OvercommitMemory)
{
    /// <summary>"binpack", "spread_cpu2", "binpack_cpu1.5_memory1.2".</summary>
    public string Name =>
        Strategy.ToString().ToLowerInvariant() + Factor("cpu", OvercommitCpu) + Factor("memory", OvercommitMemory);

    private static string Factor(string of, double factor) =>
        factor == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $"_{of}{factor:0.##}");
}

/// <summary>What came of a replay. Shares are of what the machines have, so that they exceed 1 where it is placed twice.</summary>
internal sealed record ReplayResult
{
    public required ReplaySettings Settings { get; init; }

    /// <summary>Instances that got a node, at once or later.</summary>
    public int Placed { get; set; }

    /// <summary>Instances that had none when they were deleted or the trace ended.</summary>
    public int Unplaced { get; set; }

    /// <summary>The most that waited at once.</summary>
    public int PendingPeak { get; set; }

    /// <summary>Of those that waited and got a node: how long, 99th percentile.</summary>
    public TimeSpan WaitP99 { get; set; }

    /// <summary>Mean over the trace's time, and the most.</summary>
    public double CpuMean { get; set; }

    public double CpuPeak { get; set; }

    public double MemoryMean { get; set; }

    public double MemoryPeak { get; set; }

    /// <summary>Mean over the trace's time of the share of the room for typical instances that is in pieces too small for one.</summary>
    public double Fragmentation { get; set; }

    /// <summary>Mean number of nodes with nothing on them.</summary>
    public double EmptyNodes { get; set; }
}
