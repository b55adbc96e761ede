using System.Net;
using System.Net.Sockets;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Tests.Server.Images;
using Xunit;

namespace Hypervisor.Tests.Server.Replicas;

/// <summary>Protects: any server of a cluster answers for all of it, also what only the leader can do.</summary>
public sealed class TwoServersTests : IAsyncLifetime
{
    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly MemoryStore _store = new(RealClock.Instance);
    private readonly List<(RunningServer Server, string Address)> _servers = [];

    private CancellationToken Token => _deadline.Token;

    public async ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(TimeSpan.FromSeconds(60));
        await StartAsync();
        await UntilAsync(0, info => info.Leader.Length > 0);
        await StartAsync();
        await UntilAsync(0, info => info.Replicas.Count == 2 && info.Replicas.All(replica => replica.Message.Length == 0));
    }

    public async ValueTask DisposeAsync()
    {
        for (var index = _servers.Count - 1; index >= 0; index--)
        {
            await StopAsync(index);
        }

        await _store.DisposeAsync();
        _deadline.Dispose();
    }

    [Fact]
    public async Task Each_shows_all_with_their_lag_and_one_that_is_gone_vanishes()
    {
        foreach (var index in new[] { 0, 1 })
        {
            var info = await Cluster(index).GetClusterInfoAsync(new(), cancellationToken: Token);
            Assert.Equal(_servers.Select(server => server.Address).Order(), info.Replicas.Select(replica => replica.GrpcAddress).Order());
            Assert.Equal(_servers[0].Address, info.Replicas.Single(replica => replica.Leader).GrpcAddress);
            Assert.All(info.Replicas, replica => Assert.InRange(replica.Lag.ToTimeSpan(), TimeSpan.Zero, TimeSpan.FromSeconds(5)));
            Assert.All(info.Replicas, replica => Assert.True(replica.ResourceVersion > 0));
        }

        var stale = await Cluster(1).GetClusterInfoAsync(new() { Consistency = Consistency.Stale }, cancellationToken: Token);
        Assert.Equal(2, stale.Replicas.Count);
        await StopAsync(1);
        await UntilAsync(0, info => info.Replicas.Count == 1);
    }

    [Fact]
    public async Task One_that_does_not_lead_has_the_leader_change_what_an_instance_holds()
    {
        using var heartbeat = await NodeAsync();
        await Compute(0).CreateInstanceAsync(
            new() { Name = "web", Spec = new() { Type = InstanceType.Container, Image = "busybox", Resources = new() { MemoryBytes = 64 << 20 } } },
            cancellationToken: Token);

        var answer = await Compute(1).UpdateInstanceAsync(Memory(128 << 20), cancellationToken: Token);
        Assert.Equal(128 << 20, answer.Instance.Spec.Resources.MemoryBytes);

        // Its own view includes it.
        var seen = await Compute(1).GetInstanceAsync(new() { Instance = "web", Consistency = Consistency.Stale }, cancellationToken: Token);
        Assert.Equal(128 << 20, seen.Spec.Resources.MemoryBytes);
        Assert.Equal(128 << 20, (await Cluster(1).GetNodeAsync(new() { Node = "node-a" }, cancellationToken: Token)).Status.Allocated.MemoryBytes);

        var refused = await Assert.ThrowsAsync<RpcException>(() => Compute(1).UpdateInstanceAsync(Memory(1L << 40), cancellationToken: Token).ResponseAsync);
        Assert.Equal(StatusCode.FailedPrecondition, refused.StatusCode);
        Assert.Equal("NO_ROOM", refused.GetRpcStatus()!.GetDetail<Google.Rpc.ErrorInfo>()!.Reason);

        // A call that was passed on once is not passed on again.
        var passed = await Assert.ThrowsAsync<RpcException>(() => Compute(1).UpdateInstanceAsync(
            Memory(64 << 20), new Metadata { { "hypervisor-forwarded", "1" } }, cancellationToken: Token).ResponseAsync);
        Assert.Equal(StatusCode.Unavailable, passed.StatusCode);
    }

    [Fact]
    public async Task Events_and_images_say_how_old_a_stale_answer_is()
    {
        var events = await Cluster(1).ListEventsAsync(new() { Consistency = Consistency.Stale }, cancellationToken: Token);
        Assert.NotNull(events.List.Age);
        Assert.Null((await Cluster(1).ListEventsAsync(new(), cancellationToken: Token)).List.Age);
        var images = await Compute(1).ListImagesAsync(new() { Consistency = Consistency.Stale }, cancellationToken: Token);
        Assert.NotNull(images.List.Age);
        Assert.Null((await Compute(1).ListImagesAsync(new(), cancellationToken: Token)).List.Age);
        var unknown = await Assert.ThrowsAsync<RpcException>(() => Compute(1).ListImagesAsync(new() { Consistency = (Consistency)9 }, cancellationToken: Token).ResponseAsync);
        Assert.Equal(StatusCode.InvalidArgument, unknown.StatusCode);
    }

    [Fact]
    public async Task An_image_that_was_imported_at_one_server_is_fetched_from_any()
    {
        var archive = ImageArchives.DockerSave(ImageArchives.Layer);
        using (var import = Compute(0).ImportImage(cancellationToken: Token))
        {
            await import.RequestStream.WriteAsync(new() { Header = new() { Name = "box" } }, Token);
            await import.RequestStream.WriteAsync(new() { Chunk = ByteString.CopyFrom(archive) }, Token);
            await import.RequestStream.CompleteAsync();
            await import;
        }

        var registered = await Cluster(0).RegisterNodeAsync(ControlPlane.Registration("node-a"), cancellationToken: Token);
        var headers = new Metadata { { "authorization", $"Bearer {registered.Credential}" } };
        var image = Assert.Single((await Compute(1).ListImagesAsync(new(), cancellationToken: Token)).Images);

        var there = await FetchAsync(0, image.Digest, headers);
        Assert.NotEmpty(there);
        Assert.Equal(there, await FetchAsync(1, image.Digest, headers));
        Assert.Equal(there[10..], await FetchAsync(1, image.Digest, headers, offset: 10));

        var unknown = "sha256:" + new string('0', 64);
        var nowhere = await Assert.ThrowsAsync<RpcException>(() => FetchAsync(1, unknown, headers));
        Assert.Equal(StatusCode.NotFound, nowhere.StatusCode);
        var asked = new Metadata { { "hypervisor-forwarded", "1" }, headers[0] };
        var passed = await Assert.ThrowsAsync<RpcException>(() => FetchAsync(1, image.Digest, asked));
        Assert.Equal(StatusCode.NotFound, passed.StatusCode);
        var stranger = await Assert.ThrowsAsync<RpcException>(() => FetchAsync(1, image.Digest, []));
        Assert.Equal(StatusCode.Unauthenticated, stranger.StatusCode);
    }

    private async Task<byte[]> FetchAsync(int index, string digest, Metadata headers, long offset = 0)
    {
        using var call = new AssignmentService.AssignmentServiceClient(_servers[index].Server.Channel).FetchBlob(
            new() { Digest = digest, Offset = offset }, headers, cancellationToken: Token);
        List<byte> bytes = [];
        while (await call.ResponseStream.MoveNext(Token))
        {
            bytes.AddRange(call.ResponseStream.Current.Data);
        }

        return [.. bytes];
    }

    private static UpdateInstanceRequest Memory(long bytes) => new()
    {
        Instance = new() { Metadata = new() { Name = "web" }, Spec = new() { Resources = new() { MemoryBytes = bytes } } },
        UpdateMask = new FieldMask { Paths = { "spec.resources.memory_bytes" } },
    };

    private ClusterService.ClusterServiceClient Cluster(int index) => new(_servers[index].Server.Channel);

    private ComputeService.ComputeServiceClient Compute(int index) => new(_servers[index].Server.Channel);

    /// <summary>One that is heard of for as long as the call lives.</summary>
    private async Task<AsyncDuplexStreamingCall<HeartbeatRequest, HeartbeatResponse>> NodeAsync()
    {
        var registered = await Cluster(0).RegisterNodeAsync(ControlPlane.Registration("node-a"), cancellationToken: Token);
        var heartbeat = Cluster(0).Heartbeat(new Metadata { { "authorization", $"Bearer {registered.Credential}" } }, cancellationToken: Token);
        await heartbeat.RequestStream.WriteAsync(new() { NodeUid = registered.Node.Metadata.Uid, Sequence = 1 }, Token);
        using var nodes = Cluster(0).WatchNodes(new(), cancellationToken: Token);
        while (await nodes.ResponseStream.MoveNext(Token) && nodes.ResponseStream.Current.Node?.Status.Liveness != NodeLiveness.Ready)
        {
        }

        return heartbeat;
    }

    private async Task StartAsync()
    {
        // A server's name has its port, which has to be known before it listens.
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var address = new HostPort("127.0.0.1", ((IPEndPoint)listener.LocalEndpoint).Port);
        listener.Stop();
        var server = await RunningServer.StartAsync(Token, configuration => configuration with { GrpcAddress = address }, _store);
        _servers.Add((server, address.ToString()));
    }

    private async Task StopAsync(int index)
    {
        var server = _servers[index].Server;
        _servers.RemoveAt(index);
        await server.DisposeAsync();
    }

    private async Task UntilAsync(int index, Func<ClusterInfo, bool> condition)
    {
        while (!condition(await Cluster(index).GetClusterInfoAsync(new(), cancellationToken: Token)))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), RealClock.Instance, Token);
        }
    }
}
