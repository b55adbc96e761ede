using Google.Protobuf;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.State;

/// <summary>Gives a new store its identity: a cluster uid, and incarnation 1, which each restore raises.</summary>
internal sealed class ClusterIdentityBootstrap(IClusterStore store, IRandomSource random)
{
    /// <summary>Answers the identity that the store holds, having written one when there was none.</summary>
    /// <exception cref="StoreUnavailableException"/>
    public async Task<ClusterIdentity> EnsureAsync(CancellationToken cancellationToken)
    {
        var query = RangeQuery.Single(Keys.ClusterIdentity);
        var found = await store.RangeAsync(query, cancellationToken);
        if (found.Items.Count == 0)
        {
            var identity = new ClusterIdentity { ClusterUid = random.NewUid(), Incarnation = 1 };
            await store.TransactAsync(
                new(
                    [Compare.Absent(Keys.ClusterIdentity), Compare.Absent(Keys.Restore)],
                    [new StoreOperation.Put(Keys.ClusterIdentity, identity.ToByteArray())]),
                cancellationToken);

            // Another replica may have been first: what the store holds counts.
            found = await store.RangeAsync(query, cancellationToken);
            if (found.Items.Count == 0)
            {
                throw new StoreUnavailableException(
                    "A restore into this store was begun and not finished: finish it with the same file "
                    + "(hypervisor-server --restore FILE).");
            }
        }

        return ClusterIdentity.Parser.ParseFrom(found.Items[0].Value.Span);
    }
}
