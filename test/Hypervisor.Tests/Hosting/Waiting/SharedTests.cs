using Hypervisor.Hosting.Waiting;
using Xunit;

namespace Hypervisor.Tests.Hosting.Waiting;

/// <summary>Protects: who gives up waiting takes the work from nobody else.</summary>
public sealed class SharedTests
{
    [Fact]
    public async Task Giving_up_ends_one_wait_and_not_the_work()
    {
        var work = new TaskCompletionSource<int>();
        using var giveUp = new CancellationTokenSource();
        var first = Shared.WaitAsync(work.Task, giveUp.Token);
        using var stay = new CancellationTokenSource();
        var second = Shared.WaitAsync(work.Task, stay.Token);

        giveUp.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        work.SetResult(7);

        Assert.Equal(7, await second);
    }

    [Fact]
    public async Task A_failure_reaches_everybody()
    {
        var work = new TaskCompletionSource<int>();
        using var stay = new CancellationTokenSource();
        var waiting = Shared.WaitAsync(work.Task, stay.Token);

        work.SetException(new InvalidOperationException("broken"));

        await Assert.ThrowsAsync<InvalidOperationException>(() => waiting);
    }
}
