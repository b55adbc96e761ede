using System.Collections.Immutable;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>One node as of one revision. Immutable: nobody changes the records; to write, clone them.</summary>
internal sealed class NodeEntry
{
    private PlacedNode? _placed;

    public required NodeId Id { get; init; }

    public required NodeSpecRecord SpecRecord { get; init; }

    public required long SpecRevision { get; init; }

    /// <summary>Holds the node's secret: never shown, never logged.</summary>
    public NodeRegistrationRecord? RegistrationRecord { get; init; }

    public long RegistrationRevision { get; init; }

    /// <summary>Null until the leader first judged its heartbeats.</summary>
    public NodeHealthRecord? HealthRecord { get; init; }

    public long HealthRevision { get; init; }

    /// <summary>What holds its drain up; null while nothing ever did.</summary>
    public NodeDrainRecord? DrainRecord { get; init; }

    public long DrainRevision { get; init; }

    /// <summary>Ids of the instances placed here, also of those that are being deleted.</summary>
    public OrderedSet InstanceUids { get; init; } = NoInstances;

    /// <summary>Sum of what their placements reserve.</summary>
    public NodeAllocation Allocated { get; init; }

    /// <summary>
    /// Of the last change of the node's own records. What is allocated on it does not count: a version has to be the same
    /// after a restart, when placements that are gone are no longer known.
    /// </summary>
    public required ResourceVersion ResourceVersion { get; init; }

    public string Name => SpecRecord.Metadata.Name;

    public NodeInventory? Inventory => RegistrationRecord?.Inventory;

    public NodeLiveness Liveness => HealthRecord?.Liveness ?? NodeLiveness.Unspecified;

    public NodeScheduling Scheduling => SpecRecord.Spec?.Scheduling is { } scheduling and not NodeScheduling.Unspecified
        ? scheduling
        : NodeScheduling.Schedulable;

    /// <summary>What may be placed: the capacity without the reserve, times the overcommit, rounded down. Never below zero.</summary>
    public ResourceAmount Allocatable
    {
        get
        {
            var left = ResourceAmount.Of(Inventory?.Capacity).Beyond(ResourceAmount.Of(SpecRecord.Spec?.Reserved));
            return SpecRecord.Spec?.Overcommit is not { } overcommit
                ? left
                : left with { CpuMillicores = Times(left.CpuMillicores, overcommit.Cpu), MemoryBytes = Times(left.MemoryBytes, overcommit.Memory) };

            // In decimal: 2.3 times 3 CPUs are 6.9, and a fraction of a thousandth below it in binary.
            static long Times(long amount, double factor) => factor > 1 ? (long)(amount * (decimal)factor) : amount;
        }
    }

    /// <summary>Likewise, without the overcommit: nobody shares a device.</summary>
    public DeviceAmounts AllocatableDevices => DeviceAmounts.Of(Inventory?.Capacity).Beyond(DeviceAmounts.Of(SpecRecord.Spec?.Reserved));

    /// <summary>The agent's labels and the operator's; the operator's win. Ordered by key.</summary>
    public ImmutableSortedDictionary<string, string> Labels { get; init; } = NoLabels;

    /// <summary>What its instances know of it: one object for all of them.</summary>
    public PlacedNode Placed => _placed ??= new(Id.Value, Name, Exists: true, Liveness, HealthRecord?.Since, HealthRevision);

    /// <summary>The same node with other instances on it.</summary>
    public NodeEntry With(OrderedSet uids, NodeAllocation allocated) => new()
    {
        Id = Id,
        SpecRecord = SpecRecord,
        SpecRevision = SpecRevision,
        RegistrationRecord = RegistrationRecord,
        RegistrationRevision = RegistrationRevision,
        HealthRecord = HealthRecord,
        HealthRevision = HealthRevision,
        DrainRecord = DrainRecord,
        DrainRevision = DrainRevision,
        InstanceUids = uids,
        Allocated = allocated,
        Labels = Labels,
        ResourceVersion = ResourceVersion,
        _placed = Placed,
    };

    public static OrderedSet NoInstances => OrderedSet.Empty;

    public static ImmutableSortedDictionary<string, string> NoLabels { get; } =
        ImmutableSortedDictionary.Create<string, string>(StringComparer.Ordinal);
}

/// <summary>A sum of reservations.</summary>
internal readonly record struct NodeAllocation(long CpuMillicores, long MemoryBytes, long DiskBytes, DeviceAmounts Devices)
{
    public static NodeAllocation operator +(NodeAllocation sum, Resources? added) => added is null
        ? sum
        : new(
            sum.CpuMillicores + added.CpuMillicores, sum.MemoryBytes + added.MemoryBytes, sum.DiskBytes + added.DiskBytes,
            sum.Devices + DeviceAmounts.Of(added));

    public static NodeAllocation operator -(NodeAllocation sum, Resources? removed) => removed is null
        ? sum
        : new(
            sum.CpuMillicores - removed.CpuMillicores, sum.MemoryBytes - removed.MemoryBytes, sum.DiskBytes - removed.DiskBytes,
            sum.Devices - DeviceAmounts.Of(removed));

    public Resources ToResources() => Devices.AddTo(new() { CpuMillicores = CpuMillicores, MemoryBytes = MemoryBytes, DiskBytes = DiskBytes });
}
