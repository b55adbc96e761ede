using Google.Rpc;
using Grpc.Core;
using Hypervisor.Server;
using Hypervisor.Server.Api.Nodes;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Nodes;

/// <summary>Protects: however many ask what would be, a server tries one thing at a time, for a bounded time, and says so to the others.</summary>
public sealed class TrialTurnTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly TrialTurn _turn;

    public TrialTurnTests() => _turn = new(_time);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _turn.Dispose();

    [Fact(Timeout = 60_000)]
    public async Task Who_waits_too_long_for_the_turn_of_another_is_told_when_to_come_back()
    {
        using var first = new Trial(_turn);
        await first.Begun.WaitAsync(Token);

        var second = _turn.TryAsync(_ => 2, Token);
        _time.Advance(Limits.Trials.Turn - TimeSpan.FromTicks(1));
        Assert.False(second.IsCompleted);
        _time.Advance(TimeSpan.FromTicks(1));
        var refused = await Assert.ThrowsAsync<RpcException>(() => second);

        Assert.Equal(StatusCode.ResourceExhausted, refused.StatusCode);
        Assert.Equal(Limits.Trials.Turn, refused.GetRpcStatus()!.GetDetail<RetryInfo>()!.RetryDelay.ToTimeSpan());

        // The one that was tried is not disturbed by it.
        first.Release();
        Assert.Equal(1, await first.Answer);
        Assert.Equal(3, await _turn.TryAsync(_ => 3, Token));
    }

    [Fact(Timeout = 60_000)]
    public async Task Who_waits_gets_the_turn_when_it_is_free_and_not_before()
    {
        using var first = new Trial(_turn);
        await first.Begun.WaitAsync(Token);
        var second = _turn.TryAsync(_ => first.IsOver, Token);
        _time.Advance(Limits.Trials.Turn / 2);
        Assert.False(second.IsCompleted);

        first.Release();

        Assert.True(await second, "the first is over when the second is tried");
    }

    [Fact(Timeout = 60_000)]
    public async Task What_takes_too_long_is_given_up_and_its_turn_is_free()
    {
        var begun = _time.GetUtcNow();
        var given = await Assert.ThrowsAsync<RpcException>(() => _turn.TryAsync(
            trying =>
            {
                _time.Advance(Limits.Trials.Deadline - TimeSpan.FromTicks(1));
                trying.ThrowIfCancellationRequested();
                _time.Advance(TimeSpan.FromTicks(1));
                trying.ThrowIfCancellationRequested();
                return 1;
            },
            Token));

        Assert.Equal(StatusCode.DeadlineExceeded, given.StatusCode);
        Assert.Contains("within 20 s", given.Status.Detail, StringComparison.Ordinal);
        Assert.Equal(Limits.Trials.Deadline, _time.GetUtcNow() - begun);
        Assert.Equal(2, await _turn.TryAsync(_ => 2, Token));
    }

    /// <summary>Protects: the time that one waits for its turn is no part of the time that it may take.</summary>
    [Fact(Timeout = 60_000)]
    public async Task The_deadline_begins_with_the_turn()
    {
        using var first = new Trial(_turn);
        await first.Begun.WaitAsync(Token);
        var second = _turn.TryAsync(
            trying =>
            {
                _time.Advance(Limits.Trials.Deadline - TimeSpan.FromTicks(1));
                return trying.IsCancellationRequested;
            },
            Token);
        _time.Advance(Limits.Trials.Turn / 2);
        first.Release();

        Assert.False(await second);
    }

    [Fact(Timeout = 60_000)]
    public async Task Who_hangs_up_is_no_deadline_and_frees_the_turn()
    {
        using var caller = CancellationTokenSource.CreateLinkedTokenSource(Token);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _turn.TryAsync(
            trying =>
            {
                caller.Cancel();
                trying.ThrowIfCancellationRequested();
                return 1;
            },
            caller.Token));

        using var first = new Trial(_turn);
        await first.Begun.WaitAsync(Token);
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var second = _turn.TryAsync(_ => 2, waiting.Token);
        await waiting.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);

        first.Release();
        Assert.Equal(1, await first.Answer);
    }

    [Fact(Timeout = 60_000)]
    public async Task One_that_fails_frees_the_turn()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => _turn.TryAsync<int>(_ => throw new InvalidOperationException(), Token));

        Assert.Equal(1, await _turn.TryAsync(_ => 1, Token));
    }

    /// <summary>One that is tried until it is released.</summary>
    private sealed class Trial : IDisposable
    {
        private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Trial(TrialTurn turn) => Answer = Task.Run(
            () => turn.TryAsync(
                _ =>
                {
                    _begun.SetResult();
                    _released.Task.Wait(Token);
                    IsOver = true;
                    return 1;
                },
                Token),
            Token);

        public Task Begun => _begun.Task;

        public Task<int> Answer { get; }

        public bool IsOver { get; private set; }

        public void Release() => _released.TrySetResult();

        public void Dispose() => Release();
    }
}
