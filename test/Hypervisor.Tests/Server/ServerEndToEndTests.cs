using Grpc.Core;
using Grpc.Health.V1;
using Hypervisor.Protocol.V1;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Hypervisor.Tests.Server;

/// <summary>Protects: the whole path over real gRPC: register, beat, create, assign, report, watch, delete.</summary>
public sealed class ServerEndToEndTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(
        TestContext.Current.CancellationToken);
    private RunningServer _server = null!;

    private CancellationToken Token => _deadline.Token;

    public async ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(Patience);
        _server = await RunningServer.StartAsync(Token);
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _deadline.Dispose();
    }

    [Fact]
    public async Task An_instance_becomes_running_for_its_watchers_and_leaves_nothing_but_a_tombstone()
    {
        var cluster = new ClusterService.ClusterServiceClient(_server.Channel);
        var compute = new ComputeService.ComputeServiceClient(_server.Channel);
        var assignments = new AssignmentService.AssignmentServiceClient(_server.Channel);

        var registered = await cluster.RegisterNodeAsync(ControlPlane.Registration("node-a"), deadline: null, cancellationToken: Token);
        var node = registered.Node.Metadata.Uid;
        var headers = new Metadata { { "authorization", $"Bearer {registered.Credential}" } };

        using var heartbeat = cluster.Heartbeat(headers, cancellationToken: Token);
        await heartbeat.RequestStream.WriteAsync(new() { NodeUid = node, Sequence = 1 }, Token);
        Assert.True(await heartbeat.ResponseStream.MoveNext(Token));
        Assert.Equal(1, heartbeat.ResponseStream.Current.Sequence);

        using var nodes = cluster.WatchNodes(new(), cancellationToken: Token);
        await FirstAsync(nodes.ResponseStream, change => change.Node?.Status.Liveness == NodeLiveness.Ready);

        using var watch = compute.WatchInstances(new(), cancellationToken: Token);
        await FirstAsync(watch.ResponseStream, change => change.Type == WatchEventType.Bookmark);
        using var feed = assignments.WatchAssignments(new() { NodeUid = node }, headers, cancellationToken: Token);
        await FirstAsync(feed.ResponseStream, change => change.Synced is not null);

        var created = await compute.CreateInstanceAsync(
            new()
            {
                Name = "web",
                RequestId = "r1",
                Spec = new()
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 },
                },
            },
            cancellationToken: Token);
        Assert.Equal("node-a", created.Placement.Node);

        var put = (await FirstAsync(feed.ResponseStream, change => change.Put is not null)).Put;
        Assert.Equal((created.Metadata.Uid, created.Placement.Epoch), (put.Uid, put.Epoch));

        var report = new ReportStatusRequest
        {
            NodeUid = node,
            Reports =
            {
                new StatusReport
                {
                    Uid = put.Uid,
                    Epoch = put.Epoch,
                    Status = new() { State = InstanceState.Running, ObservedGeneration = put.Generation, IpAddresses = { "10.128.0.2" } },
                },
            },
        };
        Assert.Equal([ReportResult.Accepted], (await assignments.ReportStatusAsync(report, headers, cancellationToken: Token)).Results);
        var seen = await FirstAsync(watch.ResponseStream, change => change.Instance?.Status?.State == InstanceState.Running);
        Assert.Equal(["10.128.0.2"], seen.Instance.Status.IpAddresses);

        var info = await cluster.GetClusterInfoAsync(new(), cancellationToken: Token);
        Assert.Equal((1, 1, 1), (info.NodesReady, info.InstancesRunning, info.InstancesTotal));
        Assert.Equal(info.Replicas[0].Name, info.Leader);

        await compute.DeleteInstanceAsync(new() { Instance = "web", RequestId = "r2" }, cancellationToken: Token);
        var removal = (await FirstAsync(feed.ResponseStream, change => change.Remove is not null)).Remove;
        Assert.Equal((put.Uid, put.Epoch), (removal.Uid, removal.Epoch));
        await assignments.ReportStatusAsync(new() { NodeUid = node, Removed = { removal } }, headers, cancellationToken: Token);
        await FirstAsync(watch.ResponseStream, change => change.Type == WatchEventType.Deleted);
        Assert.Empty((await compute.ListInstancesAsync(new(), cancellationToken: Token)).Instances);
    }

    [Fact]
    public async Task Agents_without_their_credential_are_turned_away_without_a_hint()
    {
        var cluster = new ClusterService.ClusterServiceClient(_server.Channel);
        var assignments = new AssignmentService.AssignmentServiceClient(_server.Channel);
        var registered = await cluster.RegisterNodeAsync(ControlPlane.Registration("node-a"), cancellationToken: Token);
        var known = new ReportStatusRequest { NodeUid = registered.Node.Metadata.Uid };
        var wrong = new Metadata { { "authorization", "Bearer wrong" } };

        var errors = new[]
        {
            await RefusalAsync(known, []),
            await RefusalAsync(known, wrong),
            await RefusalAsync(new() { NodeUid = "nobody" }, wrong),
            await RefusalAsync(new() { NodeUid = "nobody" }, new() { { "authorization", $"Bearer {registered.Credential}" } }),
        };

        Assert.All(errors, error => Assert.Equal(StatusCode.Unauthenticated, error.StatusCode));
        Assert.Single(errors.Select(error => error.Status.Detail).Distinct());

        Task<RpcException> RefusalAsync(ReportStatusRequest request, Metadata headers) => Assert.ThrowsAsync<RpcException>(
            async () => await assignments.ReportStatusAsync(request, headers, cancellationToken: Token));
    }

    [Fact]
    public async Task Operators_list_cordon_and_deregister_nodes()
    {
        var cluster = new ClusterService.ClusterServiceClient(_server.Channel);
        foreach (var name in new[] { "b", "a", "c" })
        {
            await cluster.RegisterNodeAsync(ControlPlane.Registration(name), cancellationToken: Token);
        }

        var page = await cluster.ListNodesAsync(new() { PageSize = 2 }, cancellationToken: Token);
        var rest = await cluster.ListNodesAsync(new() { PageSize = 2, PageToken = page.List.NextPageToken }, cancellationToken: Token);
        Assert.Equal(["a", "b", "c"], page.Nodes.Concat(rest.Nodes).Select(node => node.Metadata.Name));
        Assert.Equal("", rest.List.NextPageToken);

        var update = new UpdateNodeRequest
        {
            Node = new() { Metadata = new() { Name = "a", Labels = { ["disk"] = "ssd" } }, Spec = new() { Scheduling = NodeScheduling.Cordoned } },
            UpdateMask = new() { Paths = { "spec.scheduling", "metadata.labels" } },
            RequestId = "u1",
        };
        var updated = await cluster.UpdateNodeAsync(update, cancellationToken: Token);
        Assert.Equal(NodeScheduling.Cordoned, updated.Spec.Scheduling);
        Assert.Equal("ssd", updated.Metadata.Labels["disk"]);
        Assert.Equal(updated.Metadata.Generation, (await cluster.UpdateNodeAsync(update, cancellationToken: Token)).Metadata.Generation);
        update.Node.Spec.Scheduling = NodeScheduling.Schedulable;
        var reused = await Assert.ThrowsAsync<RpcException>(async () => await cluster.UpdateNodeAsync(update, cancellationToken: Token));
        Assert.Equal(StatusCode.AlreadyExists, reused.StatusCode);
        Assert.Equal("a", Assert.Single((await cluster.ListNodesAsync(new() { LabelSelector = "disk=ssd" }, cancellationToken: Token)).Nodes).Metadata.Name);

        await cluster.DeregisterNodeAsync(new() { Node = "a" }, cancellationToken: Token);
        var gone = await Assert.ThrowsAsync<RpcException>(
            async () => await cluster.GetNodeAsync(new() { Node = "a" }, cancellationToken: Token));
        Assert.Equal(StatusCode.NotFound, gone.StatusCode);
    }

    [Fact]
    public async Task Health_reflection_and_the_http_probes_answer()
    {
        var health = new Health.HealthClient(_server.Channel);
        HealthCheckResponse answer;
        do
        {
            answer = await health.CheckAsync(new(), cancellationToken: Token);
        }
        while (answer.Status != HealthCheckResponse.Types.ServingStatus.Serving);

        using var http = new HttpClient();
        var root = _server.HttpAddress.ToString().TrimEnd('/');
        Assert.Equal("ok\n", await http.GetStringAsync($"{root}/healthz", Token));
        Assert.Contains("revision", await http.GetStringAsync($"{root}/readyz", Token), StringComparison.Ordinal);

        var reflection = new Grpc.Reflection.V1Alpha.ServerReflection.ServerReflectionClient(_server.Channel);
        using var call = reflection.ServerReflectionInfo(cancellationToken: Token);
        await call.RequestStream.WriteAsync(new() { ListServices = "" }, Token);
        Assert.True(await call.ResponseStream.MoveNext(Token));
        Assert.Contains(
            call.ResponseStream.Current.ListServicesResponse.Service, service => service.Name == "hypervisor.v1.ClusterService");
    }

    private async Task<T> FirstAsync<T>(IAsyncStreamReader<T> stream, Func<T, bool> wanted)
    {
        while (await stream.MoveNext(Token))
        {
            if (wanted(stream.Current))
            {
                return stream.Current;
            }
        }

        throw new InvalidOperationException("The stream ended.");
    }
}
