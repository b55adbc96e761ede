using Hypervisor.Protocol;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Controllers;

/// <summary>What has to be done about the placement of an instance.</summary>
internal enum PlacementNeed
{
    Nothing,

    /// <summary>A node.</summary>
    Placement,

    /// <summary>It is being deleted, and nothing can be left of it anywhere.</summary>
    Removal,

    /// <summary>The store was restored, and agents may know it under an epoch that the store has forgotten.</summary>
    NewEpoch,

    /// <summary>It makes room where it is, and has still to be found at rest.</summary>
    Parking,

    /// <summary>It made room where it is, and goes on there when there is room again.</summary>
    Return,

    /// <summary>It starts nowhere again and is not told so yet: its disk was on a node that is gone.</summary>
    Refusal,
}

internal static class PlacementNeeds
{
    public const string LocalDiskLost = "LocalDiskLost";

    public static PlacementNeed Of(InstanceEntry instance, Incarnation incarnation)
    {
        var placed = instance.Node is { Exists: true };
        if (instance.Deleting)
        {
            return placed ? PlacementNeed.Nothing : PlacementNeed.Removal;
        }

        if (placed)
        {
            return instance.Epoch < new Epoch((long)incarnation.Value << 48)
                ? PlacementNeed.NewEpoch
                : instance.Eviction switch
                {
                    { Parked: true } => PlacementNeed.Return,
                    { InPlace: true } => PlacementNeed.Parking,
                    _ => PlacementNeed.Nothing,
                };
        }

        // A local disk was made where the instance was first placed; without that node it never starts again.
        var bound = instance.Epoch > Epoch.None && instance.HasLocalDisk;
        if (!bound)
        {
            return PlacementNeed.Placement;
        }

        return instance.PlacementRecord?.Placement is { NodeUid.Length: 0, Reason: LocalDiskLost } ? PlacementNeed.Nothing : PlacementNeed.Refusal;
    }
}
