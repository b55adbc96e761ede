using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>The fleet as a decision sees it.</summary>
/// <param name="Version">At least this much of the store is in it.</param>
internal sealed record FleetView(ResourceVersion Version, IReadOnlyList<CandidateNode> Nodes)
{
    /// <summary>What is placed, and reserved, on the nodes.</summary>
    public IReadOnlyList<PlacedInstance> Placed { get; init; } = [];
}

/// <summary>An instance that has a node, as others see it.</summary>
/// <param name="KeepsAway">What it must be apart from.</param>
internal sealed record PlacedInstance(NodeId Node, string Project, IReadOnlyDictionary<string, string> Labels, IReadOnlyList<NeighbourTerm> KeepsAway);

/// <summary>One node as a decision sees it.</summary>
/// <param name="Capacity">What may be placed: without the reserve, times the overcommit.</param>
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
    public IReadOnlyList<Taint> Taints { get; init; } = [];

    /// <summary>What may be placed of them; never more than there are.</summary>
    public DeviceAmounts Devices { get; init; }

    /// <summary>As <see cref="Allocated"/>.</summary>
    public DeviceAmounts AllocatedDevices { get; init; }

    public ResourceAmount Free => Capacity - Allocated;

    public DeviceAmounts FreeDevices => Devices - AllocatedDevices;
}
