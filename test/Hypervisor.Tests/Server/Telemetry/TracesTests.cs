using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Hypervisor.Tests.Server.Telemetry;

/// <summary>Protects: one trace id from an API call to the node that carries it out, and to the collector that is configured.</summary>
public sealed class TracesTests
{
    private const string TraceId = "0af7651916cd43dd8448eb211c80319c";

    [Fact]
    public async Task The_trace_of_a_call_reaches_the_node_and_the_collector()
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(TimeSpan.FromSeconds(60));
        var token = deadline.Token;
        await using var collector = await Collector.StartAsync(token);
        var folder = Directory.CreateTempSubdirectory("hypervisor-test-");
        var configuration = new ServerConfiguration
        {
            GrpcAddress = new HostPort("127.0.0.1", 0),
            HttpAddress = new HostPort("127.0.0.1", 0),
            DataDirectory = folder.FullName,
            LogLevel = LogLevel.Warning,
            Telemetry = new() { OtlpEndpoint = collector.Address },
        };
        var app = ServerApplication.Build(configuration, RealClock.Instance, new SystemRandomSource(), services =>
        {
            services.AddSingleton<IClusterStore>(provider => new MemoryStore(provider.GetRequiredService<TimeProvider>()));
            services.AddSingleton<StoreWriter>();
        });
        try
        {
            await app.StartAsync(token);
            using var channel = GrpcChannel.ForAddress(app.Urls.First());
            var cluster = new ClusterService.ClusterServiceClient(channel);
            var registered = await cluster.RegisterNodeAsync(ControlPlane.Registration("node-a"), cancellationToken: token);
            var headers = new Metadata { { "authorization", $"Bearer {registered.Credential}" } };
            var node = registered.Node.Metadata.Uid;
            using var heartbeat = cluster.Heartbeat(headers, cancellationToken: token);
            await heartbeat.RequestStream.WriteAsync(new() { NodeUid = node, Sequence = 1 }, token);
            using var feed = new AssignmentService.AssignmentServiceClient(channel)
                .WatchAssignments(new() { NodeUid = node }, headers, cancellationToken: token);

            using var http = new HttpClient();
            using var request = new HttpRequestMessage(HttpMethod.Post, $"{app.Urls.ElementAt(1)}/v1/projects/default/instances")
            {
                Content = new StringContent(
                    """{"name":"web","spec":{"type":"INSTANCE_TYPE_CONTAINER","image":"busybox","resources":{"memoryBytes":"67108864"}}}""",
                    Encoding.UTF8,
                    new MediaTypeHeaderValue("application/json")),
            };
            request.Headers.Add("traceparent", $"00-{TraceId}-b7ad6b7169203331-01");
            using var created = await http.SendAsync(request, token);
            Assert.Equal(HttpStatusCode.OK, created.StatusCode);

            Assignment? put = null;
            while (put is null && await feed.ResponseStream.MoveNext(token))
            {
                put = feed.ResponseStream.Current.Put;
            }

            Assert.Contains(TraceId, put!.TraceParent, StringComparison.Ordinal);
        }
        finally
        {
            // Sends what was not sent yet.
            await app.StopAsync(CancellationToken.None);
            await app.DisposeAsync();
            folder.Delete(recursive: true);
        }

        Assert.True(collector.Received.AsSpan().IndexOf(Convert.FromHexString(TraceId)) >= 0, "the collector has not seen the trace");
    }
}
