using System.Text;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>What the tests of a real etcd under faults share.</summary>
internal static class EtcdFaults
{
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);

    public static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static Task<EtcdStore> OpenAsync(EtcdCluster etcd, Func<EtcdConfiguration, EtcdConfiguration>? with = null)
    {
        var configuration = new EtcdConfiguration { Endpoints = etcd.Endpoints };
        return EtcdStore.OpenAsync(with?.Invoke(configuration) ?? configuration, RealTime.Clock);
    }

    public static async Task<long> PutAsync(IClusterStore store, string key, string value = "v") =>
        (await store.TransactAsync(new([], [new StoreOperation.Put(key, Encoding.UTF8.GetBytes(value))]), Cancellation)).Revision;

    /// <summary>Repeats until the store takes it: a write whose outcome is unknown may be there twice.</summary>
    public static async Task<long> PutAtLastAsync(IClusterStore store, string key)
    {
        long revision = 0;
        await RealTime.UntilAsync($"{key} is written", Deadline, async () =>
        {
            try
            {
                revision = await PutAsync(store, key);
                return true;
            }
            catch (StoreUnavailableException)
            {
                return false;
            }
        });
        return revision;
    }

    public static Secret Password(string text) => new(text);
}

/// <summary>Follows a store as the server's view does, and checks that nothing is missing, twice or out of order.</summary>
internal sealed class ExactWatcher : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _gate = new();
    private readonly SortedDictionary<long, string> _seen = [];
    private readonly Task _loop;
    private long _revision;

    public ExactWatcher(IClusterStore store, long fromRevision)
    {
        _revision = fromRevision - 1;
        _loop = RunAsync(store);
    }

    public long Revision
    {
        get
        {
            lock (_gate)
            {
                return _revision;
            }
        }
    }

    public Task ReachesAsync(long revision) => RealTime.UntilAsync($"the watch reaches {revision}", EtcdFaults.Deadline, () =>
    {
        if (_loop.IsFaulted)
        {
            throw new InvalidOperationException("The watch ended.", _loop.Exception);
        }

        return Revision >= revision;
    });

    /// <summary>What the store itself says about the same revisions.</summary>
    public async Task AgreesAsync(IClusterStore store)
    {
        SortedDictionary<long, string> expected = [];
        var first = _seen.Keys.First();
        await foreach (var batch in store.WatchAsync("", first, EtcdFaults.Cancellation))
        {
            expected.Add(batch.Revision, Describe(batch));
            if (batch.Revision >= Revision)
            {
                break;
            }
        }

        Assert.Equal(expected, _seen);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private static string Describe(ChangeBatch batch) => string.Join(',', batch.Changes.Select(change => change.Current.Key));

    private async Task RunAsync(IClusterStore store)
    {
        while (true)
        {
            try
            {
                await foreach (var batch in store.WatchAsync("", Revision + 1, _stop.Token))
                {
                    lock (_gate)
                    {
                        Assert.True(batch.Revision > _revision, $"{batch.Revision} follows {_revision}");
                        _revision = batch.Revision;
                        _seen.Add(batch.Revision, Describe(batch));
                    }
                }
            }
            catch (StoreUnavailableException)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), RealTime.Clock, _stop.Token);
            }
        }
    }
}
