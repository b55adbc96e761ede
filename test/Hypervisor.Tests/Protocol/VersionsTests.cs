using Hypervisor.Protocol;
using Xunit;

namespace Hypervisor.Tests.Protocol;

/// <summary>Protects: versions and epochs keep growing across a restore (RevisionMonotonic, EpochMonotonic).</summary>
public sealed class VersionsTests
{
    [Fact]
    public void A_later_incarnation_is_above_any_revision_of_an_earlier_one()
    {
        var before = ResourceVersion.Of(new Incarnation(1), (1L << 48) - 1);
        var after = ResourceVersion.Of(new Incarnation(2), 1);

        Assert.True(after > before);
        Assert.Equal(1, after.Revision);
        Assert.Equal(2, after.IncarnationNumber);
    }

    [Fact]
    public void An_epoch_grows_by_one_within_an_incarnation_and_jumps_with_the_next()
    {
        var first = Epoch.After(Epoch.None, Incarnation.First);
        var second = Epoch.After(first, Incarnation.First);
        var restored = Epoch.After(second, new Incarnation(2));

        Assert.Equal(first.Value + 1, second.Value);
        Assert.True(restored > second);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0x8000)]
    public void An_incarnation_outside_its_range_is_refused(int value) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new Incarnation(value));
}
