using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: the age of a replica's view is the store's doing, not that of how much happens in it.</summary>
public sealed class ViewConfirmationTests : IAsyncLifetime
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _stop = new();
    private readonly FaultyStore _store = new(new MemoryStore(new FakeTimeProvider()));
    private Replica _replica = null!;
    private Task _confirming = Task.CompletedTask;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _replica = await Replica.StartAsync(_store);
        _confirming = new ViewConfirmation(_replica.State, _replica.Reads, _replica.Time).RunAsync(_stop.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _confirming);
        await _replica.DisposeAsync();
        _stop.Dispose();
    }

    [Fact(Timeout = 60_000)]
    public async Task A_store_in_which_nothing_happens_makes_no_view_old()
    {
        for (var passed = 0; passed < 100; passed++)
        {
            _replica.Time.Advance(Second);
            await ConfirmedAsync();
        }
    }

    [Fact(Timeout = 60_000)]
    public async Task A_view_ages_while_the_store_is_away_and_no_longer()
    {
        _store.FailRevision = new StoreUnavailableException("away");
        Pass(20);
        Assert.InRange(_replica.State.Age, TimeSpan.FromSeconds(20), TimeSpan.MaxValue);

        _store.FailRevision = null;
        await ConfirmedAsync();
    }

    [Fact(Timeout = 60_000)]
    public async Task A_view_ages_while_its_replica_does_not_hear_of_what_the_store_answers()
    {
        var heard = new TaskCompletionSource();
        _store.WatchesHeld = heard.Task;
        await _store.TransactAsync(new([], [Replica.Health("n1", NodeLiveness.Ready)]), Cancellation);
        Pass(20);
        Assert.InRange(_replica.State.Age, TimeSpan.FromSeconds(20), TimeSpan.MaxValue);

        heard.SetResult();
        await ConfirmedAsync();
    }

    [Fact(Timeout = 60_000)]
    public async Task A_change_that_arrives_does_not_make_a_view_young()
    {
        _store.FailRevision = new StoreUnavailableException("away");
        Pass(20);
        await _replica.WriteAsync(Replica.Health("n1", NodeLiveness.Ready));

        Assert.InRange(_replica.State.Age, TimeSpan.FromSeconds(20), TimeSpan.MaxValue);
    }

    private void Pass(int seconds)
    {
        for (var passed = 0; passed < seconds; passed++)
        {
            _replica.Time.Advance(Second);
        }
    }

    private Task ConfirmedAsync() => _replica.Time.AdvanceUntilAsync(() => _replica.State.Age < Second, TimeSpan.FromMilliseconds(100));
}
