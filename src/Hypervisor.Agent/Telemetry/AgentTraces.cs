using System.Diagnostics;

namespace Hypervisor.Agent.Telemetry;

/// <summary>Puts the node's work into the trace of the API call that asked for it.</summary>
internal static class AgentTraces
{
    public const string SourceName = "Hypervisor.Agent";

    private static readonly ActivitySource Source = new(SourceName);

    /// <returns>
    /// Ends with the work; null when the wish came without a trace. It is there also when no collector is: logs and calls to the runtime
    /// carry its id.
    /// </returns>
    public static Activity? Begin(string name, string? parent, string uid)
    {
        if (parent is not { Length: > 0 } || !ActivityContext.TryParse(parent, null, out var context))
        {
            return null;
        }

        var activity = Source.StartActivity(name, ActivityKind.Internal, context) ?? new Activity(name).SetParentId(parent).Start();
        return activity.SetTag("instance.uid", uid);
    }

    /// <summary>Some of the present work; null outside a trace, and while no collector wants it.</summary>
    public static Activity? Part(string name) => Activity.Current is null ? null : Source.StartActivity(name);
}
