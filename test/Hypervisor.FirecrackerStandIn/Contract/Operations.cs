using static Hypervisor.FirecrackerStandIn.Contract.Phase;

namespace Hypervisor.FirecrackerStandIn.Contract;

internal enum Phase
{
    Any,

    /// <summary>Before the machine starts.</summary>
    Before,

    /// <summary>Once it has been started, or loaded.</summary>
    After,
}

/// <param name="Path">One part may be a name in braces.</param>
/// <param name="Body">Null: none is taken.</param>
/// <param name="BodyRequired">Else the call may come without one.</param>
internal sealed record Operation(string Method, string Path, Phase Phase, Shape? Body = null, bool BodyRequired = true)
{
    /// <summary>What stands where the braces are, or null when this is another path; empty for a path without braces.</summary>
    public string? Match(string path)
    {
        var brace = Path.IndexOf('{', StringComparison.Ordinal);
        return brace < 0
            ? path == Path ? "" : null
            : path.Length > brace && path.StartsWith(Path[..brace], StringComparison.Ordinal) && !path[brace..].Contains('/', StringComparison.Ordinal) ? path[brace..] : null;
    }
}

/// <summary>Every operation of Firecracker 1.17's API, and when it is allowed.</summary>
/// <remarks>
/// The contract says the phase of most; where it is silent (logger, metrics, serial, hinting, hot-plugged memory, statistics) it is as
/// Firecracker itself does.
/// </remarks>
internal static class Operations
{
    public static IReadOnlyList<Operation> All { get; } =
    [
        new("GET", "/", Any),
        new("GET", "/version", Any),
        new("PUT", "/actions", Any, Bodies.Action),
        new("GET", "/balloon", Any),
        new("PUT", "/balloon", Before, Bodies.Balloon),
        new("PATCH", "/balloon", Any, Bodies.BalloonUpdate),
        new("GET", "/balloon/statistics", After),
        new("PATCH", "/balloon/statistics", Any, Bodies.BalloonStatsUpdate),
        new("PATCH", "/balloon/hinting/start", After, Bodies.BalloonStart, BodyRequired: false),
        new("GET", "/balloon/hinting/status", After),
        new("PATCH", "/balloon/hinting/stop", After),
        new("PUT", "/boot-source", Before, Bodies.BootSource),
        new("PUT", "/cpu-config", Before, Bodies.CpuConfig),
        new("PUT", "/drives/{drive_id}", Before, Bodies.Drive),
        new("PATCH", "/drives/{drive_id}", After, Bodies.PartialDrive),
        new("PUT", "/pmem/{id}", Before, Bodies.Pmem),
        new("PATCH", "/pmem/{id}", After, Bodies.PartialPmem),
        new("PUT", "/logger", Before, Bodies.Logger),
        new("GET", "/machine-config", Any),
        new("PUT", "/machine-config", Before, Bodies.MachineConfiguration),
        new("PATCH", "/machine-config", Before, Bodies.MachineConfiguration.AllOptional()),
        new("PUT", "/metrics", Before, Bodies.Metrics),
        new("GET", "/mmds", Any),
        new("PUT", "/mmds", Any, Shape.Anything),
        new("PATCH", "/mmds", Any, Shape.Anything),
        new("PUT", "/mmds/config", Before, Bodies.MmdsConfig),
        new("PUT", "/entropy", Before, Bodies.Entropy),
        new("PUT", "/serial", Before, Bodies.Serial),
        new("GET", "/hotplug/memory", After),
        new("PUT", "/hotplug/memory", Before, Bodies.MemoryHotplug),
        new("PATCH", "/hotplug/memory", After, Bodies.MemoryHotplugUpdate),
        new("PUT", "/network-interfaces/{iface_id}", Before, Bodies.NetworkInterface),
        new("PATCH", "/network-interfaces/{iface_id}", After, Bodies.PartialNetworkInterface),
        new("PUT", "/snapshot/create", After, Bodies.SnapshotCreate),
        new("PUT", "/snapshot/load", Before, Bodies.SnapshotLoad),
        new("PATCH", "/vm", After, Bodies.Vm),
        new("GET", "/vm/config", Any),
        new("PUT", "/vsock", Before, Bodies.Vsock),
    ];
}
