using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.TestCluster;
using Hypervisor.Tests.Server.Stores;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>Protects: a real etcd behaves as every store does.</summary>
public sealed class EtcdStoreTests : StoreContract
{
    private readonly List<EtcdCluster> _clusters = [];

    // Each history has an etcd of its own: one second each.
    private protected override int Histories => 10;

    private protected override bool SendsAhead => true;

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        foreach (var cluster in _clusters)
        {
            await cluster.DisposeAsync();
        }
    }

    private protected override async Task<IClusterStore> CreateAsync()
    {
        var cluster = await EtcdCluster.StartAsync();
        _clusters.Add(cluster);
        return await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = cluster.Endpoints }, RealTime.Clock, leaseTime: Time);
    }

    private protected override Task RenewedAsync(ILeadership leader) => RealTime.UntilAsync(
        "the lease is renewed", TimeSpan.FromSeconds(10), () => ((EtcdLeadership)leader).RenewedAt == Time.GetTimestamp());

    /// <summary>Candidates have no turns here: whoever comes first leads.</summary>
    private protected override void EndTheTurn()
    {
    }
}
