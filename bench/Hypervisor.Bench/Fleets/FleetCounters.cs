using System.Numerics;

namespace Hypervisor.Bench.Fleets;

/// <summary>What a simulated fleet did, counted by all agents at once.</summary>
internal sealed class FleetCounters
{
    private long _beats;
    private long _acknowledged;
    private long _late;
    private long _assignments;
    private long _reports;
    private long _broken;
    private long _held;

    /// <summary>From a heartbeat's sending until its acknowledgement was read.</summary>
    public LatencyHistogram Answers { get; } = new();

    /// <summary>Heartbeats sent.</summary>
    public long Beats => Interlocked.Read(ref _beats);

    public long Acknowledged => Interlocked.Read(ref _acknowledged);

    /// <summary>Heartbeats left out since the one before was still being written.</summary>
    public long Late => Interlocked.Read(ref _late);

    /// <summary>Messages that assign or remove an instance.</summary>
    public long Assignments => Interlocked.Read(ref _assignments);

    /// <summary>Statuses and finished removals that the server took.</summary>
    public long Reports => Interlocked.Read(ref _reports);

    /// <summary>Connections and calls that ended though nobody meant them to.</summary>
    public long Broken => Interlocked.Read(ref _broken);

    /// <summary>Instances that are at their agents now.</summary>
    public long Held => Interlocked.Read(ref _held);

    /// <summary>Of both directions, registrations apart.</summary>
    public long Messages => Beats + Acknowledged + Assignments + Reports;

    public void Beat() => Interlocked.Increment(ref _beats);

    public void Acknowledge(TimeSpan took)
    {
        Interlocked.Increment(ref _acknowledged);
        Answers.Add(took);
    }

    public void Delay() => Interlocked.Increment(ref _late);

    public void Assign() => Interlocked.Increment(ref _assignments);

    public void Report(int count) => Interlocked.Add(ref _reports, count);

    public void Break() => Interlocked.Increment(ref _broken);

    public void Hold(int change) => Interlocked.Add(ref _held, change);
}

/// <summary>Counts durations, exact to an eighth; takes from many threads and keeps no single one.</summary>
internal sealed class LatencyHistogram
{
    private const int PerDoubling = 8;

    /// <summary>Microseconds, up to 2^32: more than an hour.</summary>
    private readonly long[] _counts = new long[33 * PerDoubling];

    public void Add(TimeSpan took) => Interlocked.Increment(ref _counts[BucketOf((long)took.TotalMicroseconds)]);

    /// <summary>The bound that the share of all durations did not exceed; zero when there were none.</summary>
    public TimeSpan Percentile(double share)
    {
        var total = _counts.Sum();
        var wanted = (long)Math.Ceiling(total * share);
        var seen = 0L;
        for (var bucket = 0; bucket < _counts.Length && total > 0; bucket++)
        {
            if ((seen += _counts[bucket]) >= wanted)
            {
                return TimeSpan.FromMicroseconds(UpperBoundOf(bucket));
            }
        }

        return TimeSpan.Zero;
    }

    public void Clear() => Array.Clear(_counts);

    private int BucketOf(long microseconds)
    {
        if (microseconds < PerDoubling)
        {
            return (int)Math.Max(0, microseconds);
        }

        var doubling = BitOperations.Log2((ulong)microseconds) - 2;
        var within = (int)((microseconds >> (doubling - 1)) & (PerDoubling - 1));
        return Math.Min(_counts.Length - 1, (doubling * PerDoubling) + within);
    }

    private static double UpperBoundOf(int bucket) => bucket < PerDoubling
        ? bucket + 1
        : (PerDoubling + (bucket % PerDoubling) + 1.0) * (1L << ((bucket / PerDoubling) - 1));
}
