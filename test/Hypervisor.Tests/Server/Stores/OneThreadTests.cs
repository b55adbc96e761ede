using System.Text;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>
/// Protects: the simulation's premise. On one thread with one synchronization context the memory store, its watches and
/// elections, and the writer never leave that thread, and the same run happens twice.
/// </summary>
public sealed class OneThreadTests
{
    [Fact]
    public void The_same_run_happens_twice_and_on_one_thread()
    {
        var first = Run();

        Assert.Contains("watch 2", first, StringComparison.Ordinal);
        Assert.Contains("two leads", first, StringComparison.Ordinal);
        Assert.Contains("watch cancelled", first, StringComparison.Ordinal);
        Assert.Equal(first, Run());
    }

    private static string Run()
    {
        var before = SynchronizationContext.Current;
        var loop = new Loop();
        SynchronizationContext.SetSynchronizationContext(loop);
        try
        {
            var scenario = ScenarioAsync(loop);
            loop.RunUntilIdle();
            Assert.True(scenario.IsCompleted, "The scenario waits for something outside its thread.");
            return scenario.GetAwaiter().GetResult();
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    private static async Task<string> ScenarioAsync(Loop loop)
    {
        var trace = new StringBuilder();
        var time = new FakeTimeProvider();
        await using var store = new MemoryStore(time);
        await using var writer = new StoreWriter(new SlowStore(store, time));
        using var cancel = new CancellationTokenSource();
        var watch = WatchAsync();
        var leader = await store.CampaignAsync("e", "one", TimeSpan.FromSeconds(3), CancellationToken.None);
        var second = CampaignAsync();

        var writes = Enumerable.Range(0, 50).Select(WriteAsync).ToList();
        var advance = AdvanceAsync();
        await Task.WhenAll(writes);
        await leader.DisposeAsync();
        await second;
        await advance;
        cancel.Cancel();
        await watch;
        return trace.ToString();

        void Note(string what)
        {
            loop.AssertThread();
            trace.AppendLine(what);
        }

        async Task WriteAsync(int number)
        {
            var key = $"k{number % 7}";
            var result = await writer.WriteAsync(
                new StoreWrite([Compare.Absent($"k{number % 3}")], [new StoreOperation.Put(key, new byte[number])]), CancellationToken.None);
            Note($"{number} {result}");
        }

        async Task CampaignAsync()
        {
            await using var next = await store.CampaignAsync("e", "two", TimeSpan.FromSeconds(3), CancellationToken.None);
            Note("two leads");
        }

        async Task WatchAsync()
        {
            try
            {
                await foreach (var batch in store.WatchAsync("", 1, cancel.Token))
                {
                    Note($"watch {batch.Revision} {string.Join(' ', batch.Changes.Select(change => change.Current.Key))}");
                }
            }
            catch (OperationCanceledException)
            {
                Note("watch cancelled");
            }
        }

        async Task AdvanceAsync()
        {
            for (var tick = 0; tick < 200; tick++)
            {
                time.Advance(TimeSpan.FromMilliseconds(100));
                await Task.Yield();
            }
        }
    }

    /// <summary>Takes a while for each transaction, so that writes queue up behind it.</summary>
    private sealed class SlowStore(IClusterStore inner, TimeProvider time) : IClusterStore
    {
        public string Kind => inner.Kind;

        public async ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(150), time, cancellationToken);
            return await inner.TransactAsync(transaction, cancellationToken);
        }

        public ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken) => inner.GetRevisionAsync(cancellationToken);

        public ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken) => inner.RangeAsync(query, cancellationToken);

        public IAsyncEnumerable<ChangeBatch> WatchAsync(string prefix, long fromRevision, CancellationToken cancellationToken) =>
            inner.WatchAsync(prefix, fromRevision, cancellationToken);

        public ValueTask CompactAsync(long revision, CancellationToken cancellationToken) => inner.CompactAsync(revision, cancellationToken);

        public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
            inner.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class Loop : SynchronizationContext
    {
        private readonly Queue<(SendOrPostCallback Callback, object? State)> _posted = new();
        private readonly int _thread = Environment.CurrentManagedThreadId;

        public void AssertThread() => Assert.Equal(_thread, Environment.CurrentManagedThreadId);

        public override void Post(SendOrPostCallback d, object? state)
        {
            AssertThread();
            _posted.Enqueue((d, state));
        }

        public void RunUntilIdle()
        {
            while (_posted.TryDequeue(out var next))
            {
                next.Callback(next.State);
            }
        }
    }
}
