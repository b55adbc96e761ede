using Hypervisor.Hosting.Waiting;
using Xunit;

namespace Hypervisor.Tests.Hosting.Waiting;

/// <summary>Protects: no wake-up is lost, also not to a waiter that gave up.</summary>
public sealed class SignalTests
{
    [Fact]
    public async Task Any_number_before_a_wait_count_as_one()
    {
        var signal = new Signal();
        signal.Set();
        signal.Set();

        await signal.WaitAsync(CancellationToken.None);
        var second = signal.WaitAsync(CancellationToken.None);

        Assert.False(second.IsCompleted);
        signal.Set();
        await second;
    }

    [Fact]
    public async Task One_that_comes_after_its_waiter_gave_up_is_kept_for_the_next()
    {
        var signal = new Signal();
        using var giveUp = new CancellationTokenSource();
        var first = signal.WaitAsync(giveUp.Token);
        giveUp.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);

        signal.Set();

        Assert.True(signal.WaitAsync(CancellationToken.None).IsCompletedSuccessfully);
    }
}
