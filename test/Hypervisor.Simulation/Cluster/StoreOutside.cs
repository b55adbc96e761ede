using System.Runtime.CompilerServices;
using Hypervisor.Server.Stores;
using Hypervisor.Simulation.Engine;

namespace Hypervisor.Simulation.Cluster;

/// <summary>
/// The store as something outside of the server: a commit takes its time, and one that was sent takes effect although the
/// server that sent it is killed. Now and then it cannot be reached, or breaks off before it answers.
/// </summary>
internal sealed class StoreOutside(IClusterStore store, SimulationLoop loop) : IClusterStore
{
    private const double Failing = 0.005;

    public string Kind => store.Kind;

    public ValueTask<long> GetRevisionAsync(CancellationToken cancellationToken)
    {
        MayFail();
        return store.GetRevisionAsync(cancellationToken);
    }

    public ValueTask<RangeResult> RangeAsync(RangeQuery query, CancellationToken cancellationToken) => store.RangeAsync(query, cancellationToken);

    public ValueTask<TransactionResult> TransactAsync(StoreTransaction transaction, CancellationToken cancellationToken) => new(loop.Outside.RunAsync(async () =>
    {
        await Task.Delay(loop.Random.Between(TimeSpan.FromTicks(1000), TimeSpan.FromMilliseconds(3)), loop.Outside.Clock);
        MayFail();
        var result = await store.TransactAsync(transaction, CancellationToken.None);
        MayFail();
        return result;
    }));

    public async IAsyncEnumerable<ChangeBatch> WatchAsync(string prefix, long fromRevision, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var batch in store.WatchAsync(prefix, fromRevision, cancellationToken))
        {
            MayFail();
            yield return batch;
        }
    }

    public ValueTask CompactAsync(long revision, CancellationToken cancellationToken) => store.CompactAsync(revision, cancellationToken);

    public Task<ILeadership> CampaignAsync(string election, string candidate, TimeSpan leaseDuration, CancellationToken cancellationToken) =>
        store.CampaignAsync(election, candidate, leaseDuration, cancellationToken);

    private void MayFail()
    {
        if (loop.Random.Chance(Failing))
        {
            throw new StoreUnavailableException("The simulation says so.");
        }
    }

    /// <summary>The store outlives its servers.</summary>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
