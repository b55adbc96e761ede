using Hypervisor.Protocol;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>What the leader would do with the instances of nodes that are lost.</summary>
internal static class Failover
{
    /// <summary>Instances that would have no node, those of the highest priority first, then the oldest: so they are given one.</summary>
    /// <param name="waiting">Also those that have none today.</param>
    public static IEnumerable<InstanceEntry> Homeless(ClusterView view, IReadOnlySet<NodeId> lost, bool waiting) =>
        lost.Select(view.Node).OfType<NodeEntry>().SelectMany(view.InstancesOn).Concat(waiting ? view.UnplacedInstances : [])
            .Where(instance => !instance.Deleting)
            .OrderByDescending(instance => instance.Priority)
            .ThenBy(instance => instance.CreatedAt)
            .ThenBy(instance => instance.Id.Value, StringComparer.Ordinal);

    /// <summary>Finds a node for an instance that has none.</summary>
    /// <param name="node">Empty when there is none.</param>
    /// <returns>Null when there is one.</returns>
    public static TrialRefusal? Place(TrialFleet fleet, InstanceEntry instance, out string node)
    {
        // As for real: a local disk was made where the instance was first placed.
        if (instance.Epoch > Epoch.None && instance.HasLocalDisk)
        {
            node = "";
            return Bound;
        }

        return fleet.Place(fleet.RequestOf(instance), out node);
    }

    private static readonly TrialRefusal Bound = new(
        PlacementNeeds.LocalDiskLost, "Its local disk is on a node that is lost; it starts nowhere else.", []);
}
