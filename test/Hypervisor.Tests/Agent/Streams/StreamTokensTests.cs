using Hypervisor.Agent.Streams;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Agent.Streams;

/// <summary>Protects: a stream is opened only by a token of its own kind, once, and soon; nobody holds more than their share of streams.</summary>
public sealed class StreamTokensTests
{
    private static readonly StreamPermit Permit = new(new InstanceId("a"), new Epoch(7), StreamKind.Exec);

    private readonly FakeTimeProvider _time = new();
    private readonly StreamTokens _tokens;

    public StreamTokensTests() => _tokens = new StreamTokens(new SystemRandomSource(), _time);

    [Fact]
    public void A_token_is_good_once()
    {
        var token = _tokens.Mint(Permit);
        Assert.Equal(Permit, _tokens.Burn(token, StreamKind.Exec));
        Assert.Null(_tokens.Burn(token, StreamKind.Exec));
    }

    [Fact]
    public void A_token_of_another_kind_is_burnt_and_good_for_nothing()
    {
        var token = _tokens.Mint(Permit);
        Assert.Null(_tokens.Burn(token, StreamKind.CopyTo));
        Assert.Null(_tokens.Burn(token, StreamKind.Exec));
    }

    [Fact]
    public void A_token_expires()
    {
        var token = _tokens.Mint(Permit);
        _time.Advance(StreamLimits.TokenLife + TimeSpan.FromSeconds(1));
        Assert.Null(_tokens.Burn(token, StreamKind.Exec));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("guessed")]
    public void Nothing_else_is_a_token(string? token) => Assert.Null(_tokens.Burn(token, StreamKind.Exec));

    [Fact]
    public void Unused_tokens_are_bounded_and_make_room_when_they_expire()
    {
        for (var count = 0; count < StreamLimits.Tokens; count++)
        {
            Assert.NotNull(_tokens.Mint(Permit));
        }

        Assert.Null(_tokens.Mint(Permit));
        _time.Advance(StreamLimits.TokenLife + TimeSpan.FromSeconds(1));
        Assert.NotNull(_tokens.Mint(Permit));
    }

    [Fact]
    public void Streams_are_bounded_per_instance_and_per_node()
    {
        var gate = new StreamGate(perInstance: 2, perNode: 3);
        var (one, two) = (new InstanceId("1"), new InstanceId("2"));
        var first = gate.TryEnter(one);
        Assert.NotNull(gate.TryEnter(one));
        Assert.Null(gate.TryEnter(one));
        Assert.NotNull(gate.TryEnter(two));
        Assert.Null(gate.TryEnter(two));
        first!.Dispose();
        first.Dispose();
        Assert.NotNull(gate.TryEnter(two));
        Assert.Null(gate.TryEnter(one));
    }
}
