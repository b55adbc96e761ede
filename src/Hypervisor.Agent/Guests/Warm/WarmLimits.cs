namespace Hypervisor.Agent.Guests.Warm;

/// <summary>Every bound of warm starts, with its reason.</summary>
internal static class WarmLimits
{
    /// <summary>On a node; each takes as much disk as its guests have memory. The one that was not used for longest makes room.</summary>
    public const int Templates = 8;

    /// <summary>
    /// A config drive that is as large for every guest: the kernel of a template knows how large its own was, and writes the exit at its end. What
    /// an entry point is told seldom takes more than some KiB; one that does not fit starts cold.
    /// </summary>
    public const int DriveBytes = 64 * 1024;
}
