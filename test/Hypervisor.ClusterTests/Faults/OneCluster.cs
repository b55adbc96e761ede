using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>A cluster with the busybox image for the tests that leave it as they found it.</summary>
public sealed class OneCluster : IAsyncLifetime
{
    public const string Name = "One cluster";

    internal LocalCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Cluster = await LocalCluster.StartAsync();
        await Cluster.ImportBusyboxAsync();
    }

    public ValueTask DisposeAsync() => Cluster?.DisposeAsync() ?? ValueTask.CompletedTask;
}

[CollectionDefinition(OneCluster.Name)]
public sealed class OneClusterTests : ICollectionFixture<OneCluster>;
