using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Somebody who uses the server while others misuse it: over gRPC and REST, on connections of his own, each call with a deadline.
/// Notes the server's memory too.
/// </summary>
internal sealed class Bystander : IAsyncDisposable
{
    /// <summary>Unloaded they take milliseconds; on a machine of few cores the misuser has most of the processors.</summary>
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);

    private readonly CancellationTokenSource _stop = new();
    private readonly Servers _servers;
    private readonly Task _loop;

    public Bystander(Servers servers)
    {
        _servers = servers;
        Before = Peak = servers.ResidentMemory();
        _loop = RunAsync();
    }

    /// <summary>Of the server, in bytes, when he came.</summary>
    public long Before { get; }

    public long Peak { get; private set; }

    public int Served { get; private set; }

    public TimeSpan Slowest { get; private set; }

    public string Summary =>
        $"{Served} calls served, the slowest in {Slowest.TotalMilliseconds:F0} ms; memory {Before >> 20} MiB, at most {Peak >> 20} MiB";

    /// <summary>Until he was served so often more.</summary>
    public Task ServedAsync(int more)
    {
        var wanted = Served + more;
        return RealTime.UntilAsync("the bystander is served", TimeSpan.FromSeconds(60), () => _loop.IsFaulted
            ? throw new InvalidOperationException("The bystander was not served.", _loop.Exception)
            : Served >= wanted);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        var compute = new ComputeService.ComputeServiceClient(_servers.Open());
        using var http = new HttpClient { BaseAddress = _servers.HttpOf(0), Timeout = Deadline };
        while (!_stop.IsCancellationRequested)
        {
            var started = RealTime.Clock.GetTimestamp();
            await compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(Deadline.TotalSeconds));
            using (var answer = await http.GetAsync(new Uri("/v1/projects/default/instances", UriKind.Relative)))
            {
                answer.EnsureSuccessStatusCode();
            }

            var took = RealTime.Clock.GetElapsedTime(started);
            Slowest = took > Slowest ? took : Slowest;
            Peak = Math.Max(Peak, _servers.ResidentMemory());
            Served++;
            await Task.Delay(TimeSpan.FromMilliseconds(20), RealTime.Clock);
        }
    }
}
