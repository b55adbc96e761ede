namespace Hypervisor.Bench.Fleets;

/// <summary>
/// Waits of tens of thousands of agents on one timer, exact to <see cref="Tick"/>. What is run has to return soon: it runs one after the other.
/// </summary>
internal sealed class TimerWheel(TimeProvider time)
{
    /// <summary>A hundredth of the usual time between two heartbeats.</summary>
    public static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(10);

    /// <summary>One turn is ten seconds: what waits for longer is passed over once a turn.</summary>
    private const int Slots = 1000;

    private readonly Lock _gate = new();
    private readonly List<(long Due, Action Run)>[] _slots = [.. Enumerable.Range(0, Slots).Select(_ => new List<(long, Action)>())];
    private readonly List<Action> _due = [];
    private readonly long _started = time.GetTimestamp();
    private long _now;

    /// <summary>
    /// Counted from the tick that is being handled, not from the clock: what asks again each time it is run keeps its rate, and after a pause makes
    /// up for what it missed.
    /// </summary>
    /// <param name="delay">At least a tick.</param>
    public void After(TimeSpan delay, Action run)
    {
        lock (_gate)
        {
            var due = _now + Math.Max(1, (long)Math.Ceiling(delay / Tick));
            _slots[due % Slots].Add((due, run));
        }
    }

    /// <summary>Until cancelled, or until something that is run fails.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Tick, time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            Advance();
        }
    }

    /// <summary>Runs what is due by now. One caller at a time.</summary>
    public void Advance()
    {
        while (_now < (long)(time.GetElapsedTime(_started) / Tick))
        {
            lock (_gate)
            {
                var slot = _slots[++_now % Slots];
                _due.AddRange(slot.Where(entry => entry.Due == _now).Select(entry => entry.Run));
                slot.RemoveAll(entry => entry.Due == _now);
            }

            _due.ForEach(run => run());
            _due.Clear();
        }
    }
}
