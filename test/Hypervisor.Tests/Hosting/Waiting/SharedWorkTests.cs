using Hypervisor.Hosting.Waiting;
using Xunit;

namespace Hypervisor.Tests.Hosting.Waiting;

/// <summary>Protects: many who want the same get one piece of work, and one who gives up takes nothing from the others.</summary>
public sealed class SharedWorkTests
{
    private readonly SharedWork<string> _shared = new();

    [Fact]
    public async Task Work_is_done_once_for_all_and_anew_afterwards()
    {
        var runs = 0;
        var gate = new TaskCompletionSource();
        var all = Enumerable.Range(0, 5).Select(_ => _shared.RunAsync("k", Work, CancellationToken.None)).ToList();
        gate.SetResult();
        await Task.WhenAll(all);
        Assert.Equal(1, runs);
        await _shared.RunAsync("k", Work, CancellationToken.None);
        Assert.Equal(2, runs);

        async Task Work(CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref runs);
            await gate.Task;
        }
    }

    [Fact]
    public async Task Only_when_the_last_has_gone_is_it_cancelled()
    {
        using var first = new CancellationTokenSource();
        using var second = new CancellationTokenSource();
        var cancelled = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        var one = _shared.RunAsync("k", Work, first.Token);
        var two = _shared.RunAsync("k", Work, second.Token);
        await begun.Task;
        await first.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => one);
        Assert.False(cancelled.Task.IsCompleted);
        await second.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => two);
        await cancelled.Task.WaitAsync(TestContext.Current.CancellationToken);

        async Task Work(CancellationToken cancellationToken)
        {
            await using var registration = cancellationToken.Register(cancelled.SetResult);
            begun.TrySetResult();
            await cancelled.Task;
        }
    }

    [Fact]
    public async Task A_failure_reaches_all_and_is_not_remembered()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => _shared.RunAsync("k", _ => throw new InvalidOperationException(), CancellationToken.None));
        await _shared.RunAsync("k", _ => Task.CompletedTask, CancellationToken.None);
    }
}
