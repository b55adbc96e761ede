namespace Hypervisor.Server.Nodes;

/// <summary>How long this process has been able to hear heartbeats, without a gap, judged by how regularly it looks.</summary>
/// <remarks>Begins with nothing: a fresh leader gives everybody one full lease (NoStorm).</remarks>
internal sealed class ListeningWindow(HeartbeatTerms terms, TimeProvider time)
{
    private long _since = time.GetTimestamp();
    private long _lastLook = time.GetTimestamp();

    /// <summary>Called with each look, at least once per interval.</summary>
    /// <param name="now">A timestamp of the clock.</param>
    /// <param name="gap">
    /// Not null when this process did not run for so long (stopped, starved, suspended) and heard nobody: its absence is
    /// nobody's silence, and listening begins anew.
    /// </param>
    public TimeSpan Look(long now, out TimeSpan? gap)
    {
        var sinceLook = time.GetElapsedTime(_lastLook, now);
        gap = sinceLook > terms.Interval + (terms.SuspectAfter / 2) ? sinceLook : null;
        _lastLook = now;
        if (gap is not null)
        {
            _since = now;
        }

        return time.GetElapsedTime(_since, now);
    }
}
