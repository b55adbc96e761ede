using System.Diagnostics;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>Puts the node's work into the trace of the API call that asked for it: logs and calls to the runtime carry its id.</summary>
internal static class RunnerTrace
{
    /// <returns>Ends with the action; null when the wish came without a trace.</returns>
    public static Activity? Begin(RunnerAction action, Assignment? desired)
    {
        if (desired is not { TraceParent.Length: > 0 } || !ActivityContext.TryParse(desired.TraceParent, null, out _))
        {
            return null;
        }

        var activity = new Activity($"instance {action}").SetParentId(desired.TraceParent);
        activity.SetTag("instance.uid", desired.Uid);
        return activity.Start();
    }
}
