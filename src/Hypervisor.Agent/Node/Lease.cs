namespace Hypervisor.Agent.Node;

/// <summary>
/// The node's lease as the agent may count on it. It is renewed by an acknowledged beat, and from the moment that beat was
/// sent: the server counts from its arrival, which is later, so the agent's lease always ends first.
/// </summary>
/// <remarks>Pure: time comes in as an argument, from an <see cref="ILeaseClock"/>.</remarks>
internal sealed class Lease
{
    private readonly Queue<(long Sequence, TimeSpan SentAt)> _outstanding = new();

    public TimeSpan Duration { get; private set; }

    /// <summary>When the latest acknowledged beat was sent; null before the first.</summary>
    public TimeSpan? RenewedAt { get; private set; }

    /// <summary>A new stream counts its beats from the beginning; what the last one had in flight proves nothing.</summary>
    public void StreamOpened() => _outstanding.Clear();

    public void Sent(long sequence, TimeSpan at)
    {
        if (_outstanding.Count == Limits.OutstandingBeats)
        {
            _outstanding.Dequeue();
        }

        _outstanding.Enqueue((sequence, at));
    }

    /// <summary>Beats are acknowledged in order; one acknowledges those before it.</summary>
    /// <param name="duration">The lease as the server grants it from now on.</param>
    public void Acknowledged(long sequence, TimeSpan duration)
    {
        while (_outstanding.TryPeek(out var beat) && beat.Sequence <= sequence)
        {
            _outstanding.Dequeue();
            if (beat.Sequence == sequence)
            {
                RenewedAt = beat.SentAt;
                Duration = duration;
            }
        }
    }

    /// <summary>
    /// The latest moment to begin stopping what must not outlive the lease, so that it is gone before a replacement may start.
    /// Null before the first renewal: nothing was promised.
    /// </summary>
    /// <param name="stopAllowance">The longest that stopping takes.</param>
    /// <param name="margin">For clocks that run at slightly different speed, and for the scheduler of this machine.</param>
    public TimeSpan? StopBy(TimeSpan stopAllowance, TimeSpan margin) => RenewedAt is { } renewed
        ? renewed + TimeSpan.FromTicks(Math.Max(0, (Duration - stopAllowance - margin).Ticks))
        : null;

    public bool HoldsAt(TimeSpan now) => RenewedAt is { } renewed && now < renewed + Duration;
}
