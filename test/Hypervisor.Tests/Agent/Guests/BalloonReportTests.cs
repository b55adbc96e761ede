using Hypervisor.Agent.Guests;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>Protects: what a guest says of its memory is believed only within its machine's size and while it is new.</summary>
public sealed class BalloonReportTests
{
    private const long Memory = 256 << 20;

    private static readonly DateTimeOffset _now = DateTimeOffset.UnixEpoch.AddDays(20_000);

    [Theory]
    [InlineData(100 << 20, 0, 156L << 20)]
    [InlineData(100 << 20, 20, 156L << 20)]
    [InlineData(100 << 20, 21, null)]
    // A clock that was set back, and one that was set back by much.
    [InlineData(100 << 20, -3, 156L << 20)]
    [InlineData(100 << 20, -3600, null)]
    // More than there is, and nothing said.
    [InlineData(long.MaxValue, 0, 0L)]
    [InlineData(-1024, 0, null)]
    public void It_is_what_is_not_available(long available, int secondsAgo, long? used) =>
        Assert.Equal(used, BalloonReport.Used(Memory, available, _now.ToUnixTimeSeconds() - secondsAgo, _now));

    [Fact]
    public void Never_is_not_known() => Assert.Null(BalloonReport.Used(Memory, 0, 0, DateTimeOffset.UnixEpoch));
}
