using Hypervisor.Ctl.Terminals;
using Xunit;

namespace Hypervisor.Tests.Ctl.Terminals;

/// <summary>Protects: a console is left by its two keys however they arrive, and by nothing else.</summary>
public sealed class DetachKeysTests
{
    [Theory]
    [InlineData(0, "\u0010\u0011")]
    [InlineData(2, "ab\u0010\u0011cd")]
    [InlineData(0, "\u0010", "\u0011")]
    [InlineData(0, "ab\u0010", "\u0011cd")]
    [InlineData(1, "\u0010\u0010\u0011")]
    public void Both_keys_in_a_row_leave(int before, params string[] pieces)
    {
        var keys = new DetachKeys();
        Assert.Equal(before, pieces.Select(piece => keys.Find(System.Text.Encoding.ASCII.GetBytes(piece))).ToList()[^1]);
    }

    [Theory]
    [InlineData("\u0011")]
    [InlineData("\u0010a\u0011")]
    [InlineData("\u0010", "a", "\u0011")]
    [InlineData("\u0011\u0010")]
    public void Anything_else_goes_through(params string[] pieces)
    {
        var keys = new DetachKeys();
        Assert.All(pieces, piece => Assert.Null(keys.Find(System.Text.Encoding.ASCII.GetBytes(piece))));
    }
}
