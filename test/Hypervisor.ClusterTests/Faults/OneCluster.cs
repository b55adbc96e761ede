using Hypervisor.Protocol.V1;
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

    /// <summary>What is on the machine before a test, after removing what an earlier one left when it failed.</summary>
    internal async Task<IReadOnlyList<string>> BeginAsync()
    {
        foreach (var process in new[] { Cluster.Containerd, Cluster.Server, Cluster.Agent }.Where(process => !process.IsRunning))
        {
            process.Start();
        }

        await Cluster.NodeReadyAsync();
        var left = await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(10));
        foreach (var instance in left.Instances)
        {
            await Cluster.DeleteAsync(instance.Metadata.Name);
        }

        return await new Leftovers(Cluster).ListAsync();
    }

    public ValueTask DisposeAsync() => Cluster?.DisposeAsync() ?? ValueTask.CompletedTask;
}

[CollectionDefinition(OneCluster.Name)]
public sealed class OneClusterTests : ICollectionFixture<OneCluster>;
