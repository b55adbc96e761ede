using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Ctl.Connection;

/// <summary>Pauses between attempts: doubling, capped, and jittered so that many clients do not return at once.</summary>
internal static class Backoff
{
    public static TimeSpan Pause(int attempt, IRandomSource random)
    {
        var full = Limits.FirstBackoff * Math.Pow(2, Math.Min(attempt, 10));
        var capped = full < Limits.LongestBackoff ? full : Limits.LongestBackoff;
        return capped * (0.5 + (0.5 * random.NextUnit()));
    }
}
