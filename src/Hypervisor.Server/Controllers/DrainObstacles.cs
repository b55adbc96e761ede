using Hypervisor.Protocol.V1;
using Hypervisor.Server.Groups;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>What holds the drain of one node up, collected in one look at it.</summary>
internal sealed class DrainObstacles
{
    public const string NoPlace = "no other node has a place for it";

    private readonly SortedDictionary<string, string> _whyByName = new(StringComparer.Ordinal);

    /// <param name="why">A phrase for people.</param>
    public void Add(InstanceEntry instance, string why) => _whyByName[instance.ListKey] = why;

    /// <summary>
    /// What keeps an instance on the node however much room there is elsewhere; null when nothing does. One that is on its way is kept by its node's
    /// silence alone.
    /// </summary>
    public static string? Of(ClusterView view, NodeEntry node, InstanceEntry instance) => instance switch
    {
        { Deleting: true } or { IsEvicted: true, Eviction.InPlace: false } =>
            node.Liveness == NodeLiveness.Down ? "its node is Down and cannot say that it is gone" : null,
        { HasLocalDisk: true } => "it has a local disk",
        { IsClone: true } => "it is a clone, with disks copied on this node",
        _ => DisruptionBudgets.MayDisturb(view, instance) ? null : Budget(view, instance),
    };

    /// <summary>The same words as long as the same things are true; empty when nothing holds it up.</summary>
    public string Message()
    {
        if (_whyByName.Count == 0)
        {
            return "";
        }

        var named = string.Join(", ", _whyByName.Take(Limits.Control.DrainObstaclesNamed).Select(pair => $"{pair.Key} ({pair.Value})"));
        var others = _whyByName.Count - Limits.Control.DrainObstaclesNamed;
        return $"The drain waits for {_whyByName.Count} instance{(_whyByName.Count == 1 ? "" : "s")}: {named}{(others > 0 ? $" and {others} more" : "")}.";
    }

    private static string Budget(ClusterView view, InstanceEntry instance)
    {
        var group = view.Group(instance.GroupUid!)!;
        var unavailable = Math.Max(0, group.Spec.Count - view.TallyOf(group).Ready);
        return $"disruption budget of group {group.Name}: {unavailable} of at most {group.Spec.Disruption!.MaxUnavailable} unavailable";
    }
}
