using Hypervisor.Hosting.Waiting;
using Xunit;

namespace Hypervisor.Tests.Hosting.Waiting;

/// <summary>Protects: NoStorm. Waits grow, are bounded, and never collapse to nothing.</summary>
public sealed class BackoffTests
{
    private static readonly TimeSpan Minimum = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan Maximum = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(1, 0, 100)]
    [InlineData(1, 1, 200)]
    [InlineData(2, 1, 400)]
    [InlineData(4, 0.5, 1200)]
    [InlineData(9, 1, 30000)]
    [InlineData(int.MaxValue, 0, 15000)]
    public void A_wait_lies_between_half_and_all_of_a_doubling_bounded_time(int failures, double unit, double milliseconds) =>
        Assert.Equal(milliseconds, Backoff.DelayAfter(failures, Minimum, Maximum, unit).TotalMilliseconds, tolerance: 1e-6);
}
