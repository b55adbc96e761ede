namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>Whether others could get what an instance holds of its node.</summary>
internal enum Yielding
{
    /// <summary>It has not come yet, or has nothing to give any more.</summary>
    Stays,

    /// <summary>It could go on elsewhere.</summary>
    CanLeave,

    /// <summary>Its disks are on the node: it could rest there.</summary>
    CanRest,

    /// <summary>It is on its way out.</summary>
    Leaves,

    /// <summary>It was told to rest, and does not yet.</summary>
    ComesToRest,
}
