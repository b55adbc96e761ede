using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

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
    /// <summary>Of a VM or microVM.</summary>
    public AcceleratorRequirement Accelerator { get; init; }

    /// <param name="clusterDefault">Taken where the instance names no strategy.</param>
    public static PlacementRequest Of(InstanceId instance, InstanceSpec spec, PlacementStrategy clusterDefault)
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
            Accelerator = spec.Machine?.Accelerator ?? AcceleratorRequirement.Unspecified,
        };
    }

    /// <summary>Node-local disks count where resources.disk_bytes does not already cover them; shared ones live elsewhere.</summary>
    private static ResourceAmount ReserveOf(InstanceSpec spec)
    {
        var asked = ResourceAmount.Of(spec.Resources);
        var disks = spec.Disks.Where(disk => disk.Kind != DiskKind.Shared).Sum(disk => disk.SizeBytes);
        return asked with { DiskBytes = Math.Max(asked.DiskBytes, disks) };
    }
}
