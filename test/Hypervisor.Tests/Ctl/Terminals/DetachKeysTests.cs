using System.Text;
using Hypervisor.Ctl.Terminals;
using Xunit;

namespace Hypervisor.Tests.Ctl.Terminals;

/// <summary>Protects: two keys leave a console, and neither of them alone, nor anything that was pasted.</summary>
public sealed class DetachKeysTests
{
    [Theory]
    [InlineData(true, "\u0010", "\u0011")]
    [InlineData(true, "ls\u0010", "\u0011")]
    [InlineData(true, "\u0010\u0011")]
    [InlineData(true, "\u0010", "\u0010", "\u0011")]
    [InlineData(false, "\u0011")]
    [InlineData(false, "\u0010", "x", "\u0011")]
    [InlineData(false, "\u0010", "\u0011 and more")]
    [InlineData(false, "text with \u0010\u0011 in it")]
    public void Two_keys_one_after_the_other_leave(bool leaves, params string[] typed)
    {
        var keys = new DetachKeys();

        Assert.Equal(leaves, typed.Select(text => keys.Leave(Encoding.ASCII.GetBytes(text))).ToList()[^1]);
    }
}
