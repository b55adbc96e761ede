using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.State;

/// <summary>What an instance's records say of it as the member of a group.</summary>
internal static class MemberState
{
    private const string Ready = "Ready";

    /// <summary>The uid of the group that it belongs to; null for what belongs to none.</summary>
    public static string? GroupOf(InstanceEntry instance) => instance.Metadata.Owner is { Kind: GroupEntry.Kind } owner ? owner.Uid : null;

    /// <summary>It runs on a node that is heard of, and is healthy if it has a health check.</summary>
    public static bool IsReady(InstanceEntry instance) =>
        InstanceView.StateOf(instance) == InstanceState.Running && Condition(instance)?.Status is null or ConditionStatus.True;

    /// <summary>Since when a ready one is, by its node's clock; null when the node did not say.</summary>
    public static DateTimeOffset? ReadySince(InstanceEntry instance)
    {
        var started = instance.CurrentStatus?.StartedAt?.ToDateTimeOffset();
        var turned = Condition(instance)?.LastTransitionAt?.ToDateTimeOffset();
        return started > turned || turned is null ? started : turned;
    }

    private static Condition? Condition(InstanceEntry instance) =>
        instance.CurrentStatus?.Conditions.FirstOrDefault(condition => condition.Type == Ready);
}
