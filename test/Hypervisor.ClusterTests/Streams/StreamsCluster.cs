using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>One cluster for all tests of streams; each test has an instance of its own.</summary>
public sealed class StreamsCluster : IAsyncLifetime
{
    private int _names;

    internal LocalCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Cluster = await LocalCluster.StartAsync();
        await Cluster.ImportBusyboxAsync();
    }

    public ValueTask DisposeAsync() => Cluster.DisposeAsync();

    public string NextName() => $"box-{Interlocked.Increment(ref _names)}";
}
