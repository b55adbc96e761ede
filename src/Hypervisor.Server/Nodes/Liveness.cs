using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Nodes;

/// <summary>How often nodes beat and how long their silence is tolerated.</summary>
/// <param name="Interval">Between two beats.</param>
/// <param name="Lease">After so much silence a node is Down; longer than the interval.</param>
internal sealed record HeartbeatTerms(TimeSpan Interval, TimeSpan Lease)
{
    /// <summary>Two beats are missing, or half of what is left of a tight lease: always before the lease ends.</summary>
    public TimeSpan SuspectAfter => TimeSpan.FromTicks(Math.Min(2 * Interval.Ticks, (Interval.Ticks + Lease.Ticks) / 2));
}

/// <summary>A conclusion about a node.</summary>
/// <param name="Message">Why, for people; empty while Ready.</param>
/// <param name="NextLookIn">Without a further beat the verdict stands for this long at least.</param>
internal readonly record struct LivenessVerdict(NodeLiveness Liveness, string Message, TimeSpan NextLookIn);

/// <summary>From silence to liveness. Pure.</summary>
internal static class Liveness
{
    /// <param name="present">What the store says.</param>
    /// <param name="silence">Since the last beat that this process heard; null when it heard none.</param>
    /// <param name="watching">
    /// How long this process has been listening without a gap. It says nothing worse about anyone before it listened for
    /// one full lease (NoStorm): after a restart, a change of leader or a pause the beats of the lease before went unheard.
    /// </param>
    public static LivenessVerdict Decide(NodeLiveness present, TimeSpan? silence, TimeSpan watching, HeartbeatTerms terms)
    {
        if (silence is { } heard && heard < terms.SuspectAfter)
        {
            return new(NodeLiveness.Ready, "", terms.SuspectAfter - heard);
        }

        // Unheard is not silent: only what passed while this process listened counts.
        var counted = silence is { } s && s < watching ? s : watching;
        if (counted >= terms.Lease)
        {
            return new(NodeLiveness.Down, DownMessage(silence, terms), terms.Lease);
        }

        var untilDown = terms.Lease - counted;
        if (silence is null || watching < terms.Lease && silence >= watching)
        {
            return new(present, present == NodeLiveness.Ready ? "" : UnheardMessage(terms), untilDown);
        }

        return present == NodeLiveness.Down
            ? new(NodeLiveness.Down, DownMessage(silence, terms), untilDown)
            : new(NodeLiveness.Suspect, $"No heartbeat for {Seconds(terms.SuspectAfter)} s; down after {Seconds(terms.Lease)} s.", untilDown);
    }

    private static string DownMessage(TimeSpan? silence, HeartbeatTerms terms) => silence is null
        ? $"Not heard from since this server began to listen; the lease is {Seconds(terms.Lease)} s. Is the agent running, and does it reach the server?"
        : $"No heartbeat for the lease of {Seconds(terms.Lease)} s. Is the agent running, and does it reach the server?";

    private static string UnheardMessage(HeartbeatTerms terms) =>
        $"Not heard from yet; judged after a full lease of {Seconds(terms.Lease)} s.";

    private static string Seconds(TimeSpan span) => span.TotalSeconds.ToString("0.###", CultureInfo.InvariantCulture);
}
