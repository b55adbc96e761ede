using Hypervisor.Agent.Waiting;
using Xunit;

namespace Hypervisor.Tests.Agent.Waiting;

/// <summary>Protects: bounded work at once, in order, and no place lost to a waiter that gave up.</summary>
public sealed class AdmissionGateTests
{
    [Fact]
    public async Task Places_are_given_in_order_and_a_waiter_that_gives_up_takes_none()
    {
        var gate = new AdmissionGate(1);
        using var giveUp = new CancellationTokenSource();
        await gate.EnterAsync(CancellationToken.None);
        var second = gate.EnterAsync(giveUp.Token);
        var third = gate.EnterAsync(CancellationToken.None);
        Assert.False(second.IsCompleted || third.IsCompleted);

        giveUp.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        gate.Leave();
        await third;

        gate.Leave();
        await gate.EnterAsync(CancellationToken.None);
    }
}
