namespace Hypervisor.Simulation.Engine;

/// <summary>The simulation's time as one process sees it: its timers fire in it, and not after it was killed.</summary>
internal sealed class SimulatedClock(SimulationLoop loop, SimulatedProcess process) : TimeProvider
{
    private static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override long GetTimestamp() => loop.Now;

    public override DateTimeOffset GetUtcNow() => Start.AddTicks(loop.Now);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new SimulatedTimer(loop, process, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }
}

/// <summary>A timer whose callback runs as work of its process.</summary>
internal sealed class SimulatedTimer(SimulationLoop loop, SimulatedProcess process, TimerCallback callback, object? state) : ITimer
{
    private long _due = -1;
    private TimeSpan _period = Timeout.InfiniteTimeSpan;

    public bool Change(TimeSpan dueTime, TimeSpan period)
    {
        _period = period;
        _due = dueTime == Timeout.InfiniteTimeSpan ? -1 : loop.Now + dueTime.Ticks;
        if (_due >= 0)
        {
            loop.Enqueue(this, _due);
        }

        return true;
    }

    public void Dispose() => _due = -1;

    public ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>Called by the loop; an entry of an earlier setting is stale and does nothing.</summary>
    internal void Due(long due)
    {
        if (due != _due)
        {
            return;
        }

        _due = -1;
        if (_period > TimeSpan.Zero)
        {
            _due = due + _period.Ticks;
            loop.Enqueue(this, _due);
        }

        process.Post(_ => callback(state), null);
    }
}
