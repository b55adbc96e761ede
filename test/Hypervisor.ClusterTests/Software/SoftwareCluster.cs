using System.Net;
using System.Net.Sockets;
using System.Text;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Software;

/// <summary>One cluster for all tests of real software.</summary>
public sealed class SoftwareCluster : IAsyncLifetime
{
    public const string Name = "Real software";

    internal LocalCluster Cluster { get; private set; } = null!;

    internal CommandLine Ctl => new(Cluster);

    internal ExamplesPage Examples => new(Cluster);

    public async ValueTask InitializeAsync() => Cluster = await LocalCluster.StartAsync();

    /// <summary>Without what an earlier test left when it failed.</summary>
    internal async Task BeginAsync()
    {
        foreach (var left in (await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(10))).Instances)
        {
            await Cluster.DeleteAsync(left.Metadata.Name);
        }
    }

    public ValueTask DisposeAsync() => Cluster?.DisposeAsync() ?? ValueTask.CompletedTask;

    /// <summary>A connection to a port of the node, from outside every instance.</summary>
    internal async Task<NetworkStream> ConnectAsync(int port) =>
        new(await Cluster.ConnectAsync(new IPEndPoint(IPAddress.Loopback, port)), ownsSocket: true);

    /// <summary>One request on a connection of its own; null when there is nobody to answer it.</summary>
    internal async Task<string?> GetAsync(int port, string path)
    {
        try
        {
            await using var connection = await ConnectAsync(port);
            await connection.WriteAsync(Encoding.ASCII.GetBytes($"GET {path} HTTP/1.0\r\nHost: web\r\n\r\n"));
            using var reader = new StreamReader(connection, Encoding.Latin1);
            return await reader.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(30), RealTime.Clock);
        }
        catch (Exception failure) when (failure is SocketException or IOException)
        {
            return null;
        }
    }

    internal Task AnswersAsync(int port) => RealTime.UntilAsync($"port {port} answers", TimeSpan.FromSeconds(30), async () =>
        (await GetAsync(port, "/"))?.Contains("It runs.", StringComparison.Ordinal) == true);

    /// <summary>SIGKILL from the node, as the kernel does when memory is short: the policy has to bring it back.</summary>
    internal async Task<Instance> KillMainProcessAsync(string name)
    {
        var before = await Cluster.RunningAsync(name);
        Linux.Signal(Cluster.ProcessOf(before), Linux.SignalKill);
        return await Cluster.InstanceAsync(name, "was started again", instance =>
            instance.Status.State == InstanceState.Running && instance.Status.Restarts > before.Status.Restarts);
    }
}

[CollectionDefinition(SoftwareCluster.Name)]
public sealed class SoftwareClusterTests : ICollectionFixture<SoftwareCluster>;
