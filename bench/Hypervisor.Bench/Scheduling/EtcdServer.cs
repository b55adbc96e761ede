using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Scheduling;

/// <summary>The shipped server on a single-member etcd of its own: same cores, ordinary file system, no unsafe flag, set as docs/operations.md advises.</summary>
internal sealed class EtcdServer : IAsyncDisposable
{
    private readonly EtcdCluster _etcd;

    private EtcdServer(EtcdCluster etcd, BenchServer server) => (_etcd, Server) = (etcd, server);

    public BenchServer Server { get; }

    /// <summary>What etcd has used so far.</summary>
    public double EtcdProcessorMilliseconds
    {
        get
        {
            using var process = System.Diagnostics.Process.GetProcessById(_etcd.Members[0].Id);
            return process.TotalProcessorTime.TotalMilliseconds;
        }
    }

    public static async Task<EtcdServer> StartAsync(long? quotaBytes = null)
    {
        var etcd = await EtcdCluster.StartAsync(new EtcdOptions { AsAdvised = true, QuotaBytes = quotaBytes });
        try
        {
            // One heartbeat a minute: that nodes live is not what is measured here.
            return new(etcd, await BenchServer.StartAsync($$"""
                etcd:
                  endpoints: ["{{etcd.Endpoints[0].ToString().TrimEnd('/')}}"]
                heartbeat:
                  interval: 1m
                  timeout: 10m
                """));
        }
        catch
        {
            await etcd.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        await _etcd.DisposeAsync();
    }
}
