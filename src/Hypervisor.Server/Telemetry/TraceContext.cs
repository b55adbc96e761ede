using System.Diagnostics;

namespace Hypervisor.Server.Telemetry;

/// <summary>Which trace an API call belongs to: kept with the desired state that it wrote, so that the node's work joins it.</summary>
internal static class TraceContext
{
    /// <summary>As W3C's traceparent header; empty outside a trace.</summary>
    public static string Parent => Activity.Current is { IdFormat: ActivityIdFormat.W3C, Id: { } id } ? id : "";
}
