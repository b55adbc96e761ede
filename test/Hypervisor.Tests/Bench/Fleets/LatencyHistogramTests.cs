using Hypervisor.Bench.Fleets;
using Xunit;

namespace Hypervisor.Tests.Bench.Fleets;

/// <summary>Protects what is published of latencies: a percentile is never below the truth and at most an eighth above.</summary>
public sealed class LatencyHistogramTests
{
    [Theory]
    [InlineData(0.5)]
    [InlineData(0.99)]
    [InlineData(1)]
    public void A_percentile_is_at_most_an_eighth_too_high(double share)
    {
        var histogram = new LatencyHistogram();
        for (var microseconds = 1; microseconds <= 200_000; microseconds += 7)
        {
            histogram.Add(TimeSpan.FromMicroseconds(microseconds));
        }

        Assert.InRange(histogram.Percentile(share).TotalMicroseconds, 200_000 * share * 0.999, 200_000 * share * 1.126);
    }

    [Fact]
    public void Without_any_it_is_zero() =>
        Assert.Equal(TimeSpan.Zero, new LatencyHistogram().Percentile(0.99));

    [Fact]
    public void What_takes_for_ever_is_counted_too()
    {
        var histogram = new LatencyHistogram();
        histogram.Add(TimeSpan.MaxValue);

        Assert.True(histogram.Percentile(0.5) > TimeSpan.FromHours(1));
    }
}
