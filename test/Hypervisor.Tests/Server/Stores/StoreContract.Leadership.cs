using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

public abstract partial class StoreContract
{
    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(6);

    [Fact(Timeout = Deadline)]
    public async Task One_candidate_leads_and_its_guard_holds()
    {
        await using var leader = await CampaignAsync("one");

        Assert.Equal("one", Text(Assert.NotNull(await GetAsync("leaders/e"))));
        Assert.True((await IfAsync([leader.Guard], [Put("a")])).Succeeded);
        var second = CampaignAsync("two");
        await Store.CampaignAsync("other", "two", Lease, Cancellation);
        Assert.False(second.IsCompleted);

        await leader.DisposeAsync();
        await using var next = await second;
        Assert.True(leader.Lost.IsCancellationRequested);
        Assert.False(next.Lost.IsCancellationRequested);
        Assert.Equal("two", Text(Assert.NotNull(await GetAsync("leaders/e"))));
        Assert.False((await IfAsync([leader.Guard], [Put("a")])).Succeeded);
        Assert.True((await IfAsync([next.Guard], [Put("a")])).Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_leader_that_renews_leads_on()
    {
        var leader = await CampaignAsync("one");

        for (var third = 0; third < 30; third++)
        {
            Time.Advance(Lease / 3);
            await RenewedAsync(leader);
        }

        Assert.False(leader.Lost.IsCancellationRequested);
        await leader.DisposeAsync();
        Assert.Null(await GetAsync("leaders/e"));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_process_that_stood_still_past_the_lease_does_not_renew_it()
    {
        await using var leader = await CampaignAsync("one");

        // All timers come late and at once, the renewal first.
        Time.Advance(Lease * 10);

        Assert.True(leader.Lost.IsCancellationRequested);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_leader_that_stands_still_loses_its_lease_and_its_writes_are_refused()
    {
        var stopped = new StoppedContext();
        ILeadership leader = await stopped.RunAsync(() => Store.CampaignAsync("e", "one", Lease, Cancellation));
        var second = CampaignAsync("two");

        Time.Advance(Lease - TimeSpan.FromMilliseconds(1));
        Assert.False(leader.Lost.IsCancellationRequested);
        Assert.True((await IfAsync([leader.Guard], [Put("a")])).Succeeded);
        Time.Advance(TimeSpan.FromMilliseconds(1));

        await using var next = await second;
        Assert.True(leader.Lost.IsCancellationRequested);
        Assert.False((await IfAsync([leader.Guard], [Put("a", "late")])).Succeeded);

        // Waking up changes nothing any more.
        stopped.RunPosted();
        await leader.DisposeAsync();
        Assert.True((await IfAsync([next.Guard], [Put("a")])).Succeeded);
        Assert.Equal("v", Text(Assert.NotNull(await GetAsync("a"))));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_candidate_that_gives_up_is_passed_over()
    {
        var leader = await CampaignAsync("one");
        using var gaveUp = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        var second = Store.CampaignAsync("e", "two", Lease, gaveUp.Token);
        var third = CampaignAsync("three");
        await gaveUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);

        await leader.DisposeAsync();

        await using var next = await third;
        Assert.Equal("three", Text(Assert.NotNull(await GetAsync("leaders/e"))));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_candidate_that_stands_still_when_its_turn_comes_is_passed_over()
    {
        var leader = await CampaignAsync("one");
        var stopped = new StoppedContext();
        Task<ILeadership>? second = null;
        await stopped.RunAsync(() =>
        {
            second = Store.CampaignAsync("e", "two", Lease, Cancellation);
            return Task.FromResult(true);
        });
        var third = CampaignAsync("three");
        await leader.DisposeAsync();
        EndTheTurn();

        var next = await third;
        Assert.Equal("three", Text(Assert.NotNull(await GetAsync("leaders/e"))));

        // It wakes up, and stands in line again.
        stopped.Resume();
        await next.DisposeAsync();
        await using var last = await second!;
        Assert.Equal("two", Text(Assert.NotNull(await GetAsync("leaders/e"))));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_lease_shorter_than_etcd_grants_is_refused()
    {
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            () => Store.CampaignAsync("e", "one", TimeSpan.FromSeconds(1), Cancellation));
    }

    /// <summary>Waits until a renewal that is due was made, where that takes time.</summary>
    private protected virtual Task RenewedAsync(ILeadership leader) => Task.CompletedTask;

    /// <summary>Where candidates have turns: the one whose turn it is has not come.</summary>
    private protected virtual void EndTheTurn() => Time.Advance(Lease);

    /// <summary>Without a context of its own: renewals happen inside <c>Time.Advance</c>.</summary>
    private async Task<ILeadership> CampaignAsync(string candidate)
    {
        SynchronizationContext.SetSynchronizationContext(null);
        return await Store.CampaignAsync("e", candidate, Lease, Cancellation);
    }

    /// <summary>A server that stands still: what is posted to it waits until it is told to run.</summary>
    private sealed class StoppedContext : SynchronizationContext
    {
        private readonly List<(SendOrPostCallback Callback, object? State)> _posted = [];
        private bool _stopped;

        /// <summary>Runs freely until the result is there, and stands still from then on.</summary>
        public async Task<T> RunAsync<T>(Func<Task<T>> start)
        {
            var before = Current;
            SetSynchronizationContext(this);
            Task<T> task;
            try
            {
                task = start();
            }
            finally
            {
                SetSynchronizationContext(before);
            }

            var result = await task;
            lock (_posted)
            {
                _stopped = true;
            }

            return result;
        }

        public override void Post(SendOrPostCallback d, object? state)
        {
            lock (_posted)
            {
                if (_stopped)
                {
                    _posted.Add((d, state));
                    return;
                }
            }

            ThreadPool.QueueUserWorkItem(
                _ =>
                {
                    SetSynchronizationContext(this);
                    d(state);
                });
        }

        /// <summary>Runs freely from here on.</summary>
        public void Resume()
        {
            lock (_posted)
            {
                _stopped = false;
            }

            RunPosted();
        }

        public void RunPosted()
        {
            List<(SendOrPostCallback Callback, object? State)> posted;
            lock (_posted)
            {
                posted = [.. _posted];
            }

            posted.ForEach(item => item.Callback(item.State));
        }
    }
}
