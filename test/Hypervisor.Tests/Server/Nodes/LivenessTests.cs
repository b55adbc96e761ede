using Hypervisor.Protocol.V1;
using Hypervisor.Server.Nodes;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>Protects: silence becomes Suspect and Down in time, and never sooner than one full lease of listening (NoStorm).</summary>
public sealed class LivenessTests
{
    private static readonly HeartbeatTerms Terms = new(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5));

    [Theory]
    // Present, seconds of silence (null: never heard), seconds of listening.
    [InlineData(NodeLiveness.Ready, 0.0, 100.0, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Ready, 1.9, 100.0, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Ready, 2.0, 100.0, NodeLiveness.Suspect)]
    [InlineData(NodeLiveness.Suspect, 4.9, 100.0, NodeLiveness.Suspect)]
    [InlineData(NodeLiveness.Suspect, 5.0, 100.0, NodeLiveness.Down)]
    [InlineData(NodeLiveness.Down, 7.0, 100.0, NodeLiveness.Down)]
    [InlineData(NodeLiveness.Down, 3.0, 100.0, NodeLiveness.Down)]
    [InlineData(NodeLiveness.Down, 0.1, 100.0, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Suspect, 0.1, 0.2, NodeLiveness.Ready)]
    // Never heard by this process: what the store says stands for one lease.
    [InlineData(NodeLiveness.Ready, null, 4.9, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Down, null, 4.9, NodeLiveness.Down)]
    [InlineData(NodeLiveness.Unspecified, null, 4.9, NodeLiveness.Unspecified)]
    [InlineData(NodeLiveness.Ready, null, 5.0, NodeLiveness.Down)]
    // Heard, but then this process itself was away: its own absence is nobody's silence.
    [InlineData(NodeLiveness.Ready, 60.0, 0.0, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Ready, 60.0, 4.9, NodeLiveness.Ready)]
    [InlineData(NodeLiveness.Ready, 60.0, 5.0, NodeLiveness.Down)]
    public void Silence_decides(NodeLiveness present, double? silence, double listening, NodeLiveness expected)
    {
        var verdict = Liveness.Decide(
            present, silence is { } s ? TimeSpan.FromSeconds(s) : null, TimeSpan.FromSeconds(listening), Terms);

        Assert.Equal(expected, verdict.Liveness);
        Assert.True(verdict.NextLookIn > TimeSpan.Zero);
        Assert.True(verdict.NextLookIn <= Terms.Lease);
        if (expected is NodeLiveness.Ready)
        {
            Assert.Empty(verdict.Message);
        }
    }

    [Theory]
    [InlineData(1, 5, 2)]
    [InlineData(10, 30, 20)]
    [InlineData(10, 20, 15)]
    public void Suspicion_always_precedes_the_end_of_the_lease(int interval, int lease, int suspect)
    {
        var terms = new HeartbeatTerms(TimeSpan.FromSeconds(interval), TimeSpan.FromSeconds(lease));

        Assert.Equal(TimeSpan.FromSeconds(suspect), terms.SuspectAfter);
    }
}
