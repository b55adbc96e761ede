using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State;

/// <summary>What an instance's records say of it as the member of a group.</summary>
internal static class MemberState
{
    private const string Ready = "Ready";

    /// <summary>It runs on a node that is heard of, and is healthy if it has a health check.</summary>
    public static bool IsReady(InstanceEntry instance) => InstanceView.StateOf(instance) == InstanceState.Running && !instance.IsReportedUnready;

    /// <summary>Since when a ready one is, by its node's clock; null when the node did not say.</summary>
    public static DateTimeOffset? ReadySince(InstanceEntry instance)
    {
        var status = instance.CurrentStatus;
        var started = status?.StartedAt?.ToDateTimeOffset();
        var turned = status is null ? null : ConditionOf(status)?.LastTransitionAt?.ToDateTimeOffset();
        return started > turned || turned is null ? started : turned;
    }

    /// <summary>Null when the node says nothing of it.</summary>
    public static Condition? ConditionOf(InstanceStatus status) => status.Conditions.FirstOrDefault(condition => condition.Type == Ready);
}
