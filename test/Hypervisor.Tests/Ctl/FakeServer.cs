using Grpc.Core;
using Hypervisor.Protocol.V1;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hypervisor.Tests.Ctl;

/// <summary>Fake ComputeService, GroupService and ClusterService on a loopback port of its own: answers what a test told it to, records what it got.</summary>
internal sealed class FakeServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private FakeServer(WebApplication app, FakeCompute compute, FakeCluster cluster, FakeGroups groups)
    {
        _app = app;
        Compute = compute;
        Cluster = cluster;
        Groups = groups;
        var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        Address = new Uri(address).Authority;
    }

    public FakeCompute Compute { get; }

    public FakeCluster Cluster { get; }

    public FakeGroups Groups { get; }

    public string Address { get; }

    public static async Task<FakeServer> StartAsync()
    {
        var compute = new FakeCompute();
        var cluster = new FakeCluster();
        var groups = new FakeGroups();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2));
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(compute);
        builder.Services.AddSingleton(cluster);
        builder.Services.AddSingleton(groups);
        var app = builder.Build();
        app.MapGrpcService<FakeCompute>();
        app.MapGrpcService<FakeCluster>();
        app.MapGrpcService<FakeGroups>();
        await app.StartAsync();
        return new(app, compute, cluster, groups);
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
    }
}

internal sealed class FakeCompute : ComputeService.ComputeServiceBase
{
    public List<Google.Protobuf.IMessage> Requests { get; } = [];

    public Func<CreateInstanceRequest, Instance> OnCreate { get; set; } = _ => throw Unset();

    public Func<ListInstancesRequest, ListInstancesResponse> OnList { get; set; } = _ => throw Unset();

    public Func<GetInstanceRequest, Instance> OnGet { get; set; } = _ => throw Unset();

    public Func<UpdateInstanceRequest, Instance> OnUpdate { get; set; } = _ => throw Unset();

    public Func<string, Instance> OnChange { get; set; } = _ => throw Unset();

    /// <summary>Writes the messages of a watch; the stream ends when it returns.</summary>
    public Func<WatchInstancesRequest, Func<WatchInstancesResponse, Task>, CancellationToken, Task> OnWatch { get; set; } = (_, _, _) => throw Unset();

    public byte[] Imported { get; private set; } = [];

    public int LargestChunk { get; private set; }

    public override Task<Instance> CreateInstance(CreateInstanceRequest request, ServerCallContext context) => Record(request, OnCreate);

    public override Task<ListInstancesResponse> ListInstances(ListInstancesRequest request, ServerCallContext context) => Record(request, OnList);

    public override Task<Instance> GetInstance(GetInstanceRequest request, ServerCallContext context) => Record(request, OnGet);

    public override Task<UpdateInstanceResponse> UpdateInstance(UpdateInstanceRequest request, ServerCallContext context) =>
        Record(request, asked => new UpdateInstanceResponse { Instance = OnUpdate(asked) });

    public override Task<Instance> StartInstance(StartInstanceRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override Task<Instance> StopInstance(StopInstanceRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override Task<Instance> SuspendInstance(SuspendInstanceRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public Func<ListSnapshotsRequest, ListSnapshotsResponse> OnListSnapshots { get; set; } = _ => throw Unset();

    public override Task<Instance> CreateSnapshot(CreateSnapshotRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override Task<Instance> RestoreSnapshot(RestoreSnapshotRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override Task<Instance> DeleteSnapshot(DeleteSnapshotRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override Task<ListSnapshotsResponse> ListSnapshots(ListSnapshotsRequest request, ServerCallContext context) => Record(request, OnListSnapshots);

    public override Task<Instance> CloneInstance(CloneInstanceRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Name));

    public override Task<Instance> DeleteInstance(DeleteInstanceRequest request, ServerCallContext context) => Record(request, r => OnChange(r.Instance));

    public override async Task<Image> ImportImage(IAsyncStreamReader<ImportImageRequest> requestStream, ServerCallContext context)
    {
        var bytes = new MemoryStream();
        var name = "";
        await foreach (var message in requestStream.ReadAllAsync(context.CancellationToken))
        {
            name = message.Header?.Name ?? name;
            if (message.Header is { } header)
            {
                Requests.Add(header);
            }

            LargestChunk = Math.Max(LargestChunk, message.Chunk.Length);
            message.Chunk.WriteTo(bytes);
        }

        Imported = bytes.ToArray();
        return new() { Metadata = new() { Name = name }, SizeBytes = Imported.Length, Digest = "sha256:00" };
    }

    /// <summary>What a console says that it is, and what was typed into it until its input ended.</summary>
    public ConsoleAbout? Console { get; set; }

    public string Typed { get; private set; } = "";

    public override async Task AttachConsole(
        IAsyncStreamReader<ConsoleInput> requestStream, IServerStreamWriter<ConsoleOutput> responseStream, ServerCallContext context)
    {
        await requestStream.MoveNext(context.CancellationToken);
        Requests.Add(requestStream.Current);
        await responseStream.WriteAsync(new() { About = Console });
        await responseStream.WriteAsync(new() { Data = Google.Protobuf.ByteString.CopyFromUtf8("login: ") });
        while (Console is { Input: true } && !Typed.EndsWith('\n') && await requestStream.MoveNext(context.CancellationToken))
        {
            Typed += requestStream.Current.Data.ToStringUtf8();
        }
    }

    public Func<GetImageRequest, Image> OnGetImage { get; set; } = _ => throw Unset();

    public override Task<Image> GetImage(GetImageRequest request, ServerCallContext context) => Record(request, OnGetImage);

    public override async Task ImportImageFromUrl(
        ImportImageFromUrlRequest request, IServerStreamWriter<ImportImageFromUrlResponse> responseStream, ServerCallContext context)
    {
        Requests.Add(request);
        await responseStream.WriteAsync(new() { Status = "fetching from here", BytesDone = 1 << 20, BytesTotal = 2 << 20 });
        await responseStream.WriteAsync(new() { Image = new() { Metadata = new() { Name = request.Image.Name }, SizeBytes = 2 << 20, Digest = "sha256:00" } });
    }

    public override Task WatchInstances(
        WatchInstancesRequest request, IServerStreamWriter<WatchInstancesResponse> responseStream, ServerCallContext context)
    {
        lock (Requests)
        {
            Requests.Add(request);
        }

        return OnWatch(request, responseStream.WriteAsync, context.CancellationToken);
    }

    private static RpcException Unset() => new(new Status(StatusCode.Unimplemented, "the test set no answer"));

    private Task<TAnswer> Record<TRequest, TAnswer>(TRequest request, Func<TRequest, TAnswer> answer)
        where TRequest : Google.Protobuf.IMessage
    {
        lock (Requests)
        {
            Requests.Add(request);
        }

        return Task.FromResult(answer(request));
    }
}

internal sealed class FakeCluster : ClusterService.ClusterServiceBase
{
    public Func<ListNodesRequest, ListNodesResponse> OnList { get; set; } = _ => new();

    public Func<GetNodeRequest, Node> OnGet { get; set; } = _ => new() { Metadata = new() { Name = "n1", Uid = "u1" } };

    public Func<UpdateNodeRequest, Node> OnUpdate { get; set; } = request => request.Node;

    public List<UpdateNodeRequest> Updates { get; } = [];

    public UpdateNodeRequest? Updated => Updates.LastOrDefault();

    public RebalanceResponse RebalanceAnswer { get; set; } = new();

    public RebalanceRequest? RebalanceAsked { get; private set; }

    public override Task<RebalanceResponse> Rebalance(RebalanceRequest request, ServerCallContext context)
    {
        RebalanceAsked = request;
        return Task.FromResult(RebalanceAnswer);
    }

    public WhatIfResponse WhatIfAnswer { get; set; } = new();

    public WhatIfRequest? WhatIfAsked { get; private set; }

    public override Task<WhatIfResponse> WhatIf(WhatIfRequest request, ServerCallContext context)
    {
        WhatIfAsked = request;
        return Task.FromResult(WhatIfAnswer);
    }

    public byte[][] BackupChunks { get; set; } = [];

    public override async Task BackupCluster(
        BackupClusterRequest request, IServerStreamWriter<BackupClusterResponse> responseStream, ServerCallContext context)
    {
        foreach (var chunk in BackupChunks)
        {
            await responseStream.WriteAsync(new() { Chunk = Google.Protobuf.ByteString.CopyFrom(chunk) });
        }
    }

    public override Task<ListNodesResponse> ListNodes(ListNodesRequest request, ServerCallContext context) => Task.FromResult(OnList(request));

    public override Task<Node> GetNode(GetNodeRequest request, ServerCallContext context) => Task.FromResult(OnGet(request));

    public List<Google.Protobuf.IMessage> Settled { get; } = [];

    public override Task<Instance> AdoptInstance(AdoptInstanceRequest request, ServerCallContext context)
    {
        Settled.Add(request);
        return Task.FromResult(new Instance { Metadata = new() { Name = request.Instance, Project = "default", Uid = "u7" } });
    }

    public override Task<PurgeInstanceResponse> PurgeInstance(PurgeInstanceRequest request, ServerCallContext context)
    {
        Settled.Add(request);
        return Task.FromResult(new PurgeInstanceResponse { Instance = new() { Name = request.Instance, Project = "default", Uid = "u7" } });
    }

    public override Task<Node> UpdateNode(UpdateNodeRequest request, ServerCallContext context)
    {
        Updates.Add(request);
        return Task.FromResult(OnUpdate(request));
    }
}
