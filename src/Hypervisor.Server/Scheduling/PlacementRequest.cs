using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>Where an instance is whose disks are copied.</summary>
/// <param name="Node">Null when it is nowhere, or gone.</param>
internal sealed record SourcePlace(NodeId? Node);

/// <summary>What an instance asks of a node.</summary>
internal sealed record PlacementRequest(
    InstanceId Instance,
    InstanceType Type,
    ResourceAmount Reserve,
    string Region,
    string Zone,
    IReadOnlyDictionary<string, string> NodeSelector,
    IReadOnlyList<PortClaim> Ports,
    PlacementStrategy Strategy)
{
    /// <summary>What is reserved beside <see cref="Reserve"/>.</summary>
    public DeviceAmounts Devices { get; init; }

    /// <summary>Of a VM or microVM.</summary>
    public AcceleratorRequirement Accelerator { get; init; }

    /// <summary>Of a clone: where the disks are that its own are copied from. Null for what is no clone.</summary>
    public SourcePlace? Source { get; init; }

    /// <summary>Whose neighbours count.</summary>
    public string Project { get; init; } = "";

    /// <summary>Of the instance itself: it may be one of those that it, or others, select.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    public PreferredPlace Preferred { get; init; } = PreferredPlace.None;

    public IReadOnlyList<NeighbourTerm> Affinity { get; init; } = [];

    public IReadOnlyList<NeighbourTerm> AntiAffinity { get; init; } = [];

    public IReadOnlyList<SpreadTerm> Spread { get; init; } = [];

    public IReadOnlyList<Toleration> Tolerations { get; init; } = [];

    /// <summary>Says nothing about where it fits, only about who may have to leave for it.</summary>
    public int Priority { get; init; }

    /// <param name="clusterDefault">Taken where the instance names no strategy.</param>
    public static PlacementRequest Of(
        InstanceId instance, string project, IReadOnlyDictionary<string, string> labels, InstanceSpec spec, PlacementStrategy clusterDefault)
    {
        var constraints = spec.Constraints ?? new PlacementConstraints();
        return new(
            instance,
            spec.Type,
            ReserveOf(spec),
            constraints.Region,
            constraints.Zone,
            constraints.NodeSelector,
            [.. (spec.Network?.Ports ?? []).Select(PortClaim.Of)],
            constraints.Strategy == PlacementStrategy.Unspecified ? clusterDefault : constraints.Strategy)
        {
            Devices = DeviceAmounts.Of(spec.Resources),
            Accelerator = spec.Machine?.Accelerator ?? AcceleratorRequirement.Unspecified,
            Project = project,
            Labels = labels,
            Preferred = PreferredPlace.Of(constraints),
            Affinity = [.. constraints.Affinity.Select(NeighbourTerm.Of)],
            AntiAffinity = [.. constraints.AntiAffinity.Select(NeighbourTerm.Of)],
            Spread = [.. constraints.Spread.Select(SpreadTerm.Of)],
            Tolerations = constraints.Tolerations,
            Priority = constraints.Priority,
        };
    }

    /// <summary>All that a placement reserves.</summary>
    public Resources ToReserved() => Devices.AddTo(Reserve.ToResources());

    /// <summary>Node-local disks count where resources.disk_bytes does not already cover them; shared ones live elsewhere.</summary>
    private static ResourceAmount ReserveOf(InstanceSpec spec)
    {
        var asked = ResourceAmount.Of(spec.Resources);
        var disks = spec.Disks.Where(disk => disk.Kind != DiskKind.Shared).Sum(disk => disk.SizeBytes);
        return asked with { DiskBytes = Math.Max(asked.DiskBytes, disks) };
    }
}
