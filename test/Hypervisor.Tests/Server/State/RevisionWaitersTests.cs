using Hypervisor.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: who waits for a revision is released by it, and who gives up leaves nothing behind.</summary>
public sealed class RevisionWaitersTests
{
    [Fact]
    public async Task A_waiter_that_gives_up_is_forgotten_though_its_revision_never_comes()
    {
        var waiters = new RevisionWaiters();
        using var giveUp = new CancellationTokenSource();
        var patient = waiters.WaitAsync(long.MaxValue, () => 1, TestContext.Current.CancellationToken);
        var impatient = waiters.WaitAsync(long.MaxValue, () => 1, giveUp.Token);
        Assert.Equal(2, waiters.Count);

        await giveUp.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient);
        Assert.Equal(1, waiters.Count);
        waiters.Advance(long.MaxValue - 1);
        Assert.False(patient.IsCompleted);
    }

    [Fact]
    public async Task Waiters_are_released_up_to_the_revision_and_no_further()
    {
        var revision = 1L;
        var waiters = new RevisionWaiters();
        var later = waiters.WaitAsync(4, () => revision, TestContext.Current.CancellationToken);
        var first = waiters.WaitAsync(3, () => revision, TestContext.Current.CancellationToken);
        var second = waiters.WaitAsync(3, () => revision, TestContext.Current.CancellationToken);

        revision = 3;
        waiters.Advance(3);

        await Task.WhenAll(first, second);
        Assert.False(later.IsCompleted);
        Assert.Equal(1, waiters.Count);
    }
}
