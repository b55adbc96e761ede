using Hypervisor.Agent.Instances;
using Hypervisor.Server.Api.Validation;
using Xunit;

namespace Hypervisor.Tests.Agent.Instances;

/// <summary>Protects: what the API takes for a signal, and what an image names, is the signal that the node sends.</summary>
public sealed class SignalNamesTests
{
    [Theory]
    [InlineData("SIGTERM", 15)]
    [InlineData("TERM", 15)]
    [InlineData("15", 15)]
    [InlineData("SIGWINCH", 28)]
    [InlineData("SYS", 31)]
    [InlineData("SIGRTMIN", 34)]
    [InlineData("SIGRTMIN+3", 37)]
    [InlineData("RTMAX-1", 63)]
    [InlineData("64", 64)]
    public void A_name_or_number_is_one_signal(string text, int signal)
    {
        Assert.Equal(signal, SignalNames.Parse(text));
        Assert.True(Signals.IsKnown(text));
    }

    [Theory]
    [InlineData("")]
    [InlineData("0")]
    [InlineData("65")]
    [InlineData("SIG")]
    [InlineData("sigterm")]
    [InlineData("SIGSIGTERM")]
    [InlineData("RTMIN+31")]
    [InlineData("RTMIN-1")]
    [InlineData("RTMAX-31")]
    [InlineData("SIGRTMIN+")]
    [InlineData("-1")]
    public void Anything_else_is_refused_by_both(string text)
    {
        Assert.Null(SignalNames.Parse(text));
        Assert.False(Signals.IsKnown(text));
    }

    [Fact]
    public void Whatever_the_api_takes_the_node_knows()
    {
        for (var signal = 1; signal < 32; signal++)
        {
            var name = SignalNames.Suffix(signal).Trim(' ', '(', ')');
            Assert.Equal(signal, SignalNames.Parse(name));
            Assert.True(Signals.IsKnown(name), name);
        }
    }
}
