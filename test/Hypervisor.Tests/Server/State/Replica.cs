using Google.Protobuf;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>A server replica without its network: the real view and operations over the memory store.</summary>
internal sealed class Replica : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _following;

    private Replica(IClusterStore? store, IFirstPlacement? placement)
    {
        Store = store ?? new MemoryStore(Time);
        State = new(Store, Time, Random, NullLogger<ClusterState>.Instance);
        Reads = new(State, Store, Time);
        Writer = new(Store);
        Errors = new(Random, NullLogger<ErrorTranslation>.Instance);
        var creation = new InstanceCreation(Reads, Writer, Random, Time, placement);
        Instances = new(
            creation,
            new(Reads, Writer, Time),
            new(Reads, Writer, Time),
            new(Reads, Writer, Time, null),
            new(Reads, Writer, Random, Time),
            new(creation),
            new(Reads, new(Reads, Time), Store),
            new(State, Reads, Time),
            new(Reads, Writer, Errors, creation, placement));
        _following = State.RunAsync(_stop.Token);
    }

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2030, 1, 2, 3, 4, 5, TimeSpan.Zero));

    public IRandomSource Random { get; } = new SeededRandom(7);

    public IClusterStore Store { get; }

    public ClusterState State { get; }

    public ViewReads Reads { get; }

    public StoreWriter Writer { get; }

    public ErrorTranslation Errors { get; }

    public InstanceOperations Instances { get; }

    public WatchHub Watches => Instances.Watches;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static async Task<Replica> StartAsync(IClusterStore? store = null, IFirstPlacement? placement = null)
    {
        var replica = new Replica(store, placement);
        await replica.State.WaitUntilLoadedAsync(Cancellation);
        return replica;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        try
        {
            await _following;
        }
        catch (OperationCanceledException)
        {
            // That is how following ends.
        }

        await Writer.DisposeAsync();
        await Store.DisposeAsync();
        _stop.Dispose();
    }

    /// <summary>Writes as one revision and waits for the view.</summary>
    public async Task<ClusterView> WriteAsync(params StoreOperation[] operations)
    {
        var result = await Store.TransactAsync(new([], operations), Cancellation);
        return await State.WaitForRevisionAsync(result.Revision, Cancellation);
    }

    public Task<Instance> CreateAsync(string name, string requestId = "", Action<CreateInstanceRequest>? more = null)
    {
        var request = NewRequest(name, requestId);
        more?.Invoke(request);
        return Instances.Creation.CreateAsync(request, Cancellation);
    }

    public static CreateInstanceRequest NewRequest(string name, string requestId = "") => new()
    {
        Name = name,
        RequestId = requestId,
        Spec = new() { Type = InstanceType.Container, Image = "busybox" },
    };

    public async Task AddNodeAsync(string uid, string name, NodeLiveness liveness = NodeLiveness.Ready) => await WriteAsync(
        new StoreOperation.Put(
            Keys.NodeSpec(new(uid)), new NodeSpecRecord { Metadata = new() { Name = name, Uid = uid } }.ToByteArray()),
        Health(uid, liveness));

    public static StoreOperation Health(string uid, NodeLiveness liveness) => new StoreOperation.Put(
        Keys.NodeHealth(new(uid)), new NodeHealthRecord { Liveness = liveness, Since = new() { Seconds = 1_893_553_445 } }.ToByteArray());

    public static StoreOperation Place(string uid, string nodeUid, long epoch, long memoryBytes = 1) => new StoreOperation.Put(
        Keys.Placement(new(uid)),
        new PlacementRecord
        {
            Placement = new() { NodeUid = nodeUid, Node = nodeUid, Epoch = epoch },
            Reserved = new() { MemoryBytes = memoryBytes, CpuMillicores = 1, Devices = { ["gpu"] = (int)memoryBytes % 3 } },
        }.ToByteArray());

    public static StoreOperation Report(string uid, long epoch, InstanceState state, long generation = 1) => new StoreOperation.Put(
        Keys.Status(new(uid)),
        new StatusRecord { Status = new() { State = state, ObservedEpoch = epoch, ObservedGeneration = generation } }.ToByteArray());
}

internal sealed class SeededRandom(int seed) : IRandomSource
{
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);

    public void Fill(Span<byte> buffer)
    {
        lock (_lock)
        {
            _random.NextBytes(buffer);
        }
    }
}
