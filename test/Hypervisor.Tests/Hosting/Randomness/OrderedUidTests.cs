using Hypervisor.Hosting.Randomness;
using Xunit;

namespace Hypervisor.Tests.Hosting.Randomness;

/// <summary>Protects: uids of instances are UUIDs that nobody else has and that lie in the order in which they were made.</summary>
public sealed class OrderedUidTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 28, 12, 0, 0, TimeSpan.Zero);

    private readonly SystemRandomSource _random = new();

    [Fact]
    public void It_is_the_text_of_a_UUID_of_version_7()
    {
        var text = _random.NewOrderedUid(Now);
        var uid = Guid.ParseExact(text, "D");
        Assert.Equal(uid.ToString("D"), text);
        Assert.Equal((7, Guid.CreateVersion7(Now).ToString()[..13]), (uid.Version, text[..13]));
        Assert.InRange(uid.Variant, 8, 11);
    }

    [Fact]
    public void Later_ones_come_later()
    {
        string[] uids = [.. Enumerable.Range(0, 1000).Select(millisecond => _random.NewOrderedUid(Now.AddMilliseconds(millisecond * 7919L)))];
        Assert.Equal(uids.Order(StringComparer.Ordinal), uids);
    }

    [Fact]
    public void Those_of_one_moment_differ_at_their_end()
    {
        var ends = Enumerable.Range(0, 10_000).Select(_ => _random.NewOrderedUid(Now)[^12..]).ToHashSet();
        Assert.Equal(10_000, ends.Count);
    }
}
