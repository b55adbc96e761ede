using Hypervisor.Bench.Fleets;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Bench.Fleets;

/// <summary>Protects the rate of simulated heartbeats: nothing early, nothing lost, and no drift.</summary>
public sealed class TimerWheelTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly TimerWheel _wheel;

    public TimerWheelTests() => _wheel = new(_time);

    [Theory]
    [InlineData(1, 10)]
    [InlineData(15, 20)]
    [InlineData(9_990, 9_990)]
    [InlineData(10_000, 10_000)]
    [InlineData(25_000, 25_000)]
    public void What_waits_is_run_once_and_not_before(int delay, int due)
    {
        var runs = 0;
        _wheel.After(TimeSpan.FromMilliseconds(delay), () => runs++);

        Pass(due - 10);
        Assert.Equal(0, runs);
        Pass(10);
        Assert.Equal(1, runs);
        Pass(30_000);
        Assert.Equal(1, runs);
    }

    [Fact]
    public void What_asks_again_each_time_keeps_its_rate_over_a_pause()
    {
        var runs = 0;
        void Again()
        {
            runs++;
            _wheel.After(TimeSpan.FromSeconds(1), Again);
        }

        _wheel.After(TimeSpan.FromSeconds(1), Again);
        Pass(2_500);
        Pass(57_500);

        Assert.Equal(60, runs);
    }

    private void Pass(int milliseconds)
    {
        _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
        _wheel.Advance();
    }
}
