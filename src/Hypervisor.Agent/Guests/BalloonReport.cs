namespace Hypervisor.Agent.Guests;

/// <summary>What a guest's kernel says of its memory to the balloon (virtio 1.2, 5.5.6.3). The guest can say anything.</summary>
internal static class BalloonReport
{
    /// <param name="memoryBytes">Of the machine.</param>
    /// <param name="availableBytes">What the guest could still give to programs without swapping, as MemAvailable of Linux.</param>
    /// <param name="at">When it said so, in seconds since 1970; 0 is never.</param>
    /// <returns>
    /// What is not available, its kernel's own included, since it asked for a machine of this size; null when it is too long ago: a guest that boots anew, or
    /// stands still, says nothing.
    /// </returns>
    public static long? Used(long memoryBytes, long availableBytes, long at, DateTimeOffset now) =>
        at > 0 && availableBytes >= 0 && Math.Abs(now.ToUnixTimeSeconds() - at) <= GuestLimits.BalloonAge.TotalSeconds
            ? Math.Max(0, memoryBytes - availableBytes)
            : null;
}
