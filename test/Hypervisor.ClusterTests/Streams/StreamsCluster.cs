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
        // All they have to say: what may be in no log is looked for there.
        Cluster = await LocalCluster.StartAsync(new LocalClusterOptions { AgentYaml = "log:\n  level: debug\n", ServerYaml = "log:\n  level: debug\n" });
        await Cluster.ImportBusyboxAsync();
    }

    public ValueTask DisposeAsync() => Cluster.DisposeAsync();

    public string NextName() => $"box-{Interlocked.Increment(ref _names)}";
}
