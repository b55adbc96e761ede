using System.Text;
using Hypervisor.Server.Stores;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>
/// Protects: what every store promises, so that the embedded store, etcd and the simulation's store can stand in for each
/// other. Each store runs all of it.
/// </summary>
public abstract partial class StoreContract : IAsyncLifetime
{
    private const int Deadline = 60_000;

    private readonly List<IAsyncDisposable> _owned = [];

    private protected FakeTimeProvider Time { get; } = new();

    private protected IClusterStore Store { get; private set; } = null!;

    private protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => Store = await OpenNewAsync();

    public virtual async ValueTask DisposeAsync()
    {
        foreach (var owned in _owned)
        {
            await owned.DisposeAsync();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>An empty store.</summary>
    private protected abstract Task<IClusterStore> CreateAsync();

    private protected async Task<IClusterStore> OpenNewAsync()
    {
        var store = await CreateAsync();
        _owned.Add(store);
        return store;
    }

    private protected static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private protected static string Text(KeyValue item) => Encoding.UTF8.GetString(item.Value.Span);

    private protected static StoreOperation.Put Put(string key, string value = "v") => new(key, Bytes(value));

    private protected static StoreOperation.Delete Delete(string key) => new(key);

    private protected static StoreOperation.Nested Nested(Compare[] compares, StoreOperation[] then, params StoreOperation[] otherwise) =>
        new(new StoreTransaction(compares, then, otherwise));

    private protected async Task<TransactionResult> IfAsync(Compare[] compares, StoreOperation[] then, params StoreOperation[] otherwise) =>
        await Store.TransactAsync(new StoreTransaction(compares, then, otherwise), Cancellation);

    private protected async Task<long> DoAsync(params StoreOperation[] operations) => (await IfAsync([], operations)).Revision;

    private protected async Task<KeyValue?> GetAsync(string key, long revision = 0)
    {
        var result = await Store.RangeAsync(RangeQuery.Single(key, revision), Cancellation);
        return result.Items.Count == 0 ? null : result.Items[0];
    }

    private protected async Task<string[]> KeysAsync(RangeQuery query) =>
        [.. (await Store.RangeAsync(query, Cancellation)).Items.Select(item => item.Key)];

    /// <summary>The changes of a watch up to a revision, as "revision key=value" or "revision -key".</summary>
    private protected static async Task<List<string>> ChangesAsync(IClusterStore store, string prefix, long from, long upTo)
    {
        List<string> changes = [];
        var last = from - 1;
        await foreach (var batch in store.WatchAsync(prefix, from, Cancellation))
        {
            Assert.True(batch.Revision > last || (batch.Changes.Count == 0 && batch.Revision == last), $"{batch.Revision} follows {last}");
            last = batch.Revision;
            changes.AddRange(batch.Changes.Select(change => Describe(change, batch.Revision)));
            if (batch.Revision >= upTo)
            {
                break;
            }
        }

        return changes;
    }

    private protected static string Describe(StoreChange change, long revision)
    {
        Assert.Equal(revision, change.Current.ModRevision);
        return change.Deleted ? $"{revision} -{change.Current.Key}" : $"{revision} {change.Current.Key}={Text(change.Current)}";
    }
}
