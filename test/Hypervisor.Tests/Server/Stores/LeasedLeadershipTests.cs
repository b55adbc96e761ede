using Hypervisor.Server.Stores;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>Protects: whoever holds a lease learns that it is over, whatever timers do (Converges).</summary>
public sealed class LeasedLeadershipTests
{
    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(5);

    [Fact]
    public async Task A_lease_ends_although_its_timer_fires_before_the_clock_says_so()
    {
        var clock = new FakeTimeProvider();
        var time = new HastyTimers(clock);
        await using var leadership = new Unreachable(time);

        clock.Advance(Lease - HastyTimers.Early);
        Assert.False(leadership.Lost.IsCancellationRequested);

        clock.Advance(HastyTimers.Early + HastyTimers.Early);
        Assert.True(leadership.Lost.IsCancellationRequested);
    }

    /// <summary>Of a store that does not answer.</summary>
    private sealed class Unreachable(TimeProvider time) : LeasedLeadership(Compare.Absent("leaders/test"), time, Lease, time.GetTimestamp())
    {
        protected override Task<Answer> KeepAsync() => Task.FromResult(Answer.Unknown);

        protected override Task ReleaseAsync() => Task.CompletedTask;
    }

    /// <summary>As timers of the system do, which cut their time to whole milliseconds.</summary>
    private sealed class HastyTimers(TimeProvider clock) : TimeProvider
    {
        public static readonly TimeSpan Early = TimeSpan.FromMilliseconds(1);

        public override long TimestampFrequency => clock.TimestampFrequency;

        public override long GetTimestamp() => clock.GetTimestamp();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            clock.CreateTimer(callback, state, dueTime > Early ? dueTime - Early : dueTime, period);
    }
}
