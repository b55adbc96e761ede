using System.Text;
using Hypervisor.Server;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>
/// Protects: joined writes mean what they mean alone, in order, and one that fails, waits or is cancelled troubles no other.
/// </summary>
public sealed class StoreWriterTests : IAsyncDisposable
{
    private const int Deadline = 60_000;

    private readonly GatedStore _store = new(new MemoryStore(new FakeTimeProvider()));
    private readonly StoreWriter _writer;

    public StoreWriterTests() => _writer = new StoreWriter(_store);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        _store.Open();
        await _writer.DisposeAsync();
        await _store.DisposeAsync();
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_alone_goes_at_once_and_unwrapped()
    {
        _store.Open();

        var result = await WriteAsync("a");

        Assert.Equal(new WriteResult(true, 2), result);
        Assert.IsType<StoreOperation.Put>(Assert.Single(Assert.Single(_store.Sent).Then));
    }

    [Fact(Timeout = Deadline)]
    public async Task Writes_that_wait_share_one_transaction_and_one_lost_race_fails_one_write()
    {
        var writes = Blocked("first");
        writes.Add(WriteAsync("a"));
        writes.Add(WriteAsync(new StoreWrite([Compare.Modified("b", 77)], [Put("b")])));
        writes.Add(WriteAsync("c"));

        _store.Open();
        var results = await Task.WhenAll(writes);

        Assert.Equal([true, true, false, true], results.Select(result => result.Succeeded));
        Assert.Equal([2, 3, 3, 3], results.Select(result => result.Revision));
        Assert.Equal([1, 3], _store.Sent.Select(sent => sent.Then.Count));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_waits_for_the_next_batch_if_it_touches_what_the_batch_writes()
    {
        var writes = Blocked("first");
        writes.Add(WriteAsync("a"));
        writes.Add(WriteAsync("a"));
        writes.Add(WriteAsync(new StoreWrite([Compare.Absent("a")], [Put("b")])));
        writes.Add(WriteAsync("c"));

        _store.Open();
        var results = await Task.WhenAll(writes);

        // The compare of b's write sees both writes of a, as if all had come one after the other.
        Assert.Equal([true, true, true, false, true], results.Select(result => result.Succeeded));
        Assert.Equal([["first"], ["a", "c"], ["a"], ["b"]], _store.SentKeys);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_waits_if_it_writes_what_the_batch_compares()
    {
        var writes = Blocked("first");
        writes.Add(WriteAsync(new StoreWrite([Compare.Absent("g")], [Put("a")])));
        writes.Add(WriteAsync(new StoreWrite([Compare.Absent("g")], [Put("b")])));
        writes.Add(WriteAsync("g"));

        _store.Open();
        await Task.WhenAll(writes);

        Assert.Equal([["first"], ["a", "b"], ["g"]], _store.SentKeys);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_does_not_pass_a_waiting_one_that_it_conflicts_with()
    {
        var writes = Blocked("first");
        writes.Add(WriteAsync(new StoreWrite([], [Put("a")])));
        writes.Add(WriteAsync(new StoreWrite([], [Put("a"), Put("b")])));
        writes.Add(WriteAsync(new StoreWrite([], [Put("b"), Put("c")])));
        writes.Add(WriteAsync(new StoreWrite([Compare.Absent("c")], [Put("d")])));
        writes.Add(WriteAsync("e"));

        _store.Open();
        var results = await Task.WhenAll(writes);

        Assert.Equal([["first"], ["a", "e"], ["a", "b"], ["b", "c"], ["d"]], _store.SentKeys);
        Assert.False(results[4].Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task Writes_of_one_key_take_effect_in_the_order_of_their_calls()
    {
        var writes = Blocked("first");
        for (var write = 0; write < 700; write++)
        {
            writes.Add(WriteAsync(new StoreWrite([], [Put("hot", $"{write}")])));
            writes.Add(WriteAsync($"k{write}"));
        }

        _store.Open();
        var results = await Task.WhenAll(writes);

        var hot = Enumerable.Range(0, 700).Select(write => results[1 + (2 * write)].Revision).ToList();
        Assert.Equal(hot.Order(), hot);
        Assert.Equal(700, hot.Distinct().Count());
    }

    [Fact(Timeout = Deadline)]
    public async Task A_batch_keeps_to_the_limits_of_operations_and_bytes()
    {
        var writes = Blocked("first");
        writes.AddRange(Enumerable.Range(0, 300).Select(write => WriteAsync($"k{write}")));
        writes.Add(WriteAsync(new StoreWrite([], [.. Enumerable.Range(0, 100).Select(put => Put($"wide{put}"))])));
        writes.AddRange(Enumerable.Range(0, 100).Select(write => WriteAsync($"l{write}")));
        writes.AddRange(Enumerable.Range(0, 5).Select(write => WriteAsync(new StoreWrite([], [new StoreOperation.Put($"big{write}", new byte[700_000])]))));

        // The store refuses what is over its limits.
        _store.Open();
        var results = await Task.WhenAll(writes);

        Assert.All(results, result => Assert.True(result.Succeeded));
        Assert.Equal(127, _store.Sent[1].Then.Count);
        Assert.Contains(_store.Sent, sent => sent.Then.Count == 28);
    }

    [Fact(Timeout = Deadline)]
    public async Task Full_batches_follow_while_others_are_in_flight_up_to_the_bound_and_the_rest_gathers()
    {
        var full = StoreLimits.MaxOperations - 1;
        List<Task<WriteResult>> writes = [WriteAsync("first")];
        for (var write = 0; write < (Limits.Store.BatchesInFlight + 1) * StoreLimits.MaxOperations; write++)
        {
            writes.Add(WriteAsync($"k{write:d5}"));
        }

        Assert.Equal([1, .. Enumerable.Repeat(full, Limits.Store.BatchesInFlight - 1)], _store.Sent.Select(sent => sent.Then.Count));
        _store.Open();
        Assert.All(await Task.WhenAll(writes), result => Assert.True(result.Succeeded));

        // No key was sent twice.
        Assert.Equal(writes.Count, _store.SentKeys.SelectMany(keys => keys).Distinct().Count());
        Assert.Equal(writes.Count, _store.SentKeys.Sum(keys => keys.Length));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_that_conflicts_with_one_in_flight_is_in_no_batch_beside_it()
    {
        var writes = Blocked("taken");
        for (var write = 0; write < StoreLimits.MaxOperations; write++)
        {
            writes.Add(WriteAsync(new StoreWrite([], [Put("taken", $"{write}")])));
            writes.Add(WriteAsync($"k{write:d5}"));
        }

        var inFlight = _store.SentKeys.ToList();
        Assert.Equal(2, inFlight.Count);
        Assert.DoesNotContain("taken", inFlight[1]);
        _store.Open();
        await Task.WhenAll(writes);
        Assert.Equal($"{StoreLimits.MaxOperations - 1}", Encoding.UTF8.GetString(
            (await _store.RangeAsync(RangeQuery.Single("taken"), Cancellation)).Items[0].Value.Span));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_failing_store_fails_exactly_the_writes_of_that_batch()
    {
        var first = WriteAsync("first");
        var second = WriteAsync("a");
        var conflicting = WriteAsync("a");
        _store.FailTransaction(2, new StoreUnavailableException("planted"));

        _store.Open();

        Assert.True((await first).Succeeded);
        Assert.Equal("planted", (await Assert.ThrowsAsync<StoreUnavailableException>(() => second)).Message);
        Assert.True((await conflicting).Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task More_writes_than_the_bound_are_refused_with_a_time_to_retry()
    {
        var writes = Blocked("first");
        var inFlight = (Limits.Store.BatchesInFlight - 1) * (StoreLimits.MaxOperations - 1);
        writes.AddRange(Enumerable.Range(0, inFlight + Limits.Store.QueuedWrites).Select(write => WriteAsync($"k{write}")));

        var refused = await Assert.ThrowsAsync<StoreBusyException>(() => WriteAsync("one more"));

        Assert.True(refused.RetryAfter > TimeSpan.Zero);
        _store.Open();
        await Task.WhenAll(writes);
        Assert.True((await WriteAsync("one more")).Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task More_bytes_than_the_bound_are_refused()
    {
        var value = new byte[1_000_000];
        var writes = Blocked("first");
        var accepted = (int)(Limits.Store.QueuedWriteBytes / 1_000_100);
        writes.AddRange(Enumerable.Range(0, accepted).Select(write => WriteAsync(new StoreWrite([], [new StoreOperation.Put($"k{write}", value)]))));

        await Assert.ThrowsAsync<StoreBusyException>(() => WriteAsync(new StoreWrite([], [new StoreOperation.Put("more", value)])));

        _store.Open();
        await Task.WhenAll(writes);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_cancelled_write_that_waits_never_happens()
    {
        var writes = Blocked("first");
        using var cancel = new CancellationTokenSource();
        var cancelled = _writer.WriteAsync(new StoreWrite([], [Put("a")]), cancel.Token);
        writes.Add(WriteAsync("b"));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        Assert.Equal(1, _writer.QueuedWrites);

        _store.Open();
        await Task.WhenAll(writes);

        Assert.Equal([["first"], ["b"]], _store.SentKeys);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_cancelled_write_in_flight_returns_at_once_and_may_still_happen()
    {
        using var cancel = new CancellationTokenSource();
        var cancelled = _writer.WriteAsync(new StoreWrite([], [Put("a")]), cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);

        _store.Open();
        await WriteAsync("b");

        Assert.Equal(2, (await _store.RangeAsync(RangeQuery.Prefix(""), Cancellation)).Items.Count);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_write_that_the_store_would_refuse_is_refused_before_it_joins_others()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => WriteAsync(new StoreWrite([], [Put("a"), Put("a")])));
        await Assert.ThrowsAsync<ArgumentException>(() => WriteAsync(new StoreWrite([], [new StoreOperation.Nested(new StoreTransaction([], []))])));
        Assert.Empty(_store.Sent);
    }

    [Fact(Timeout = Deadline)]
    public async Task Closing_ends_every_accepted_write_and_refuses_new_ones()
    {
        var writes = Blocked("first");
        writes.Add(WriteAsync("a"));
        var closing = _writer.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => WriteAsync("late"));

        _store.Open();
        await closing;

        Assert.All(await Task.WhenAll(writes), result => Assert.True(result.Succeeded));
    }

    /// <summary>A write that is in flight until the store opens, so that all others wait behind it.</summary>
    private List<Task<WriteResult>> Blocked(string key) => [WriteAsync(key)];

    private Task<WriteResult> WriteAsync(string key) => WriteAsync(new StoreWrite([], [Put(key)]));

    private Task<WriteResult> WriteAsync(StoreWrite write) => _writer.WriteAsync(write, Cancellation);

    private static StoreOperation.Put Put(string key, string value = "v") => new(key, Encoding.UTF8.GetBytes(value));

    /// <summary>Holds transactions back until it is opened, and remembers them.</summary>
    private sealed class GatedStore(IClusterStore inner) : IClusterStore
    {
        private readonly TaskCompletionSource _open = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private (int Number, Exception Failure)? _planted;

        public List<StoreTransaction> Sent { get; } = [];

        public IEnumerable<string[]> SentKeys => Sent.Select(sent => Keys(sent).ToArray());

        public string Kind => inner.Kind;

        public void Open() => _open.TrySetResult();

        public void FailTransaction(int number, Exception failure) => _planted = (number, failure);

        public async ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
        {
            Sent.Add(transaction);
            var number = Sent.Count;
            await _open.Task;
            return _planted is { } planted && planted.Number == number ? throw planted.Failure : await inner.TransactAsync(transaction, cancellationToken);
        }

        public ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken) => inner.GetRevisionAsync(cancellationToken);

        public ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken) => inner.RangeAsync(query, cancellationToken);

        public IAsyncEnumerable<ChangeBatch> WatchAsync(string prefix, long fromRevision, CancellationToken cancellationToken) =>
            inner.WatchAsync(prefix, fromRevision, cancellationToken);

        public ValueTask CompactAsync(long revision, CancellationToken cancellationToken) => inner.CompactAsync(revision, cancellationToken);

        public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
            inner.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();

        private static IEnumerable<string> Keys(StoreTransaction transaction) => transaction.Then.SelectMany(operation => operation switch
        {
            StoreOperation.Put put => [put.Key],
            StoreOperation.Nested nested => Keys(nested.Transaction),
            _ => [],
        });
    }
}
