using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Grpc.Core;
using Hypervisor.Protocol.V1;
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
        // Stopping sends what was not sent yet.
        await using (var server = await RunningServer.StartAsync(
            token, configuration => configuration with { Telemetry = new() { OtlpEndpoint = collector.Address } }))
        {
            var channel = server.Channel;
            var cluster = new ClusterService.ClusterServiceClient(channel);
            var registered = await cluster.RegisterNodeAsync(ControlPlane.Registration("node-a"), cancellationToken: token);
            var headers = new Metadata { { "authorization", $"Bearer {registered.Credential}" } };
            var node = registered.Node.Metadata.Uid;
            using var heartbeat = cluster.Heartbeat(headers, cancellationToken: token);
            await heartbeat.RequestStream.WriteAsync(new() { NodeUid = node, Sequence = 1 }, token);
            using var feed = new AssignmentService.AssignmentServiceClient(channel)
                .WatchAssignments(new() { NodeUid = node }, headers, cancellationToken: token);

            using var http = new HttpClient();
            using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(server.HttpAddress, "/v1/projects/default/instances"))
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

        Assert.True(collector.Received.AsSpan().IndexOf(Convert.FromHexString(TraceId)) >= 0, "the collector has not seen the trace");
    }
}
