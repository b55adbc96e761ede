using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>The fleet as a decision sees it.</summary>
/// <param name="Version">At least this much of the store is in it.</param>
internal sealed record FleetView(ResourceVersion Version, IReadOnlyList<CandidateNode> Nodes);

/// <summary>One node as a decision sees it.</summary>
/// <param name="Allocated">Placements of the store and reservations in flight together.</param>
/// <param name="UsedPorts">Likewise.</param>
internal sealed record CandidateNode(
    NodeId Id,
    string Name,
    NodeScheduling Scheduling,
    NodeLiveness Liveness,
    NodeInventory Inventory,
    IReadOnlyDictionary<string, string> Labels,
    ResourceAmount Capacity,
    ResourceAmount Allocated,
    int InstanceCount,
    IReadOnlyList<PortClaim> UsedPorts)
{
    public ResourceAmount Free => Capacity - Allocated;
}
