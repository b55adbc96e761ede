using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects: a server holds as many watches as it says within a bounded memory, refuses more in words that tell when to come back,
/// and has room again when they end (MemoryBounded).
/// </summary>
[Collection(WholeMachine.Name)]
public sealed class IdleWatchTests
{
    private const int Beyond = 100;

    /// <summary>For 10,000 watches: 40 KiB each.</summary>
    private const long MemoryBound = 400L << 20;

    [Fact(Timeout = 240_000)]
    public async Task Ten_thousand_idle_watches_are_held_and_more_are_refused()
    {
        await using var servers = await Servers.StartAsync();
        await using var bystander = new Bystander(servers);
        var nodes = new ClusterService.ClusterServiceClient(servers.Open());
        using var stop = new CancellationTokenSource();
        List<AsyncServerStreamingCall<WatchInstancesResponse>> held = [];
        try
        {
            var client = new ComputeService.ComputeServiceClient(servers.Open());
            foreach (var part in Enumerable.Range(0, Limits.Api.Watches).Chunk(500))
            {
                var calls = part.Select(_ => client.WatchInstances(new WatchInstancesRequest(), cancellationToken: stop.Token)).ToList();
                held.AddRange(calls);

                // Each has told that its list is complete.
                await Task.WhenAll(calls.Select(call => call.ResponseStream.MoveNext(stop.Token)));
                Assert.All(calls, call => Assert.Equal(WatchEventType.Bookmark, call.ResponseStream.Current.Type));
            }

            var memory = servers.ResidentMemory() - bystander.Before;
            TestContext.Current.TestOutputHelper?.WriteLine($"{memory / Limits.Api.Watches} bytes per watch");
            for (var more = 0; more < Beyond; more++)
            {
                using var refused = client.WatchInstances(new WatchInstancesRequest(), deadline: LocalCluster.Deadline(30));
                var exception = await Assert.ThrowsAsync<RpcException>(() => refused.ResponseStream.MoveNext(CancellationToken.None));
                Assert.Equal(StatusCode.ResourceExhausted, exception.StatusCode);
                Assert.NotNull(exception.GetRpcStatus()?.GetDetail<RetryInfo>());
            }

            await bystander.ServedAsync(20);
            TestContext.Current.TestOutputHelper?.WriteLine(bystander.Summary);
            Assert.InRange(bystander.Peak - bystander.Before, long.MinValue, MemoryBound);
        }
        finally
        {
            await stop.CancelAsync();
            held.ForEach(call => call.Dispose());
        }

        await RealTime.UntilAsync("there is room again", TimeSpan.FromSeconds(60), async () =>
        {
            using var again = nodes.WatchNodes(new WatchNodesRequest(), deadline: LocalCluster.Deadline(10));
            return await again.ResponseStream.MoveNext(CancellationToken.None);
        });
    }
}
