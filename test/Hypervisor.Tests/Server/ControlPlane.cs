using System.Buffers.Binary;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Controllers.Groups;
using Hypervisor.Server.Nodes;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Hypervisor.Tests.Server;

/// <summary>A control plane without a network: real classes over the memory store and a clock that tests move.</summary>
internal sealed class ControlPlane : IAsyncDisposable
{
    public static readonly HeartbeatTerms Terms = new(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5));

    private readonly CancellationTokenSource _stopping = new();
    private readonly Task _following;

    private ControlPlane()
    {
        Store = new MemoryStore(Time);
        Writer = new StoreWriter(Store);
        State = new ClusterState(Store, Time, Random, NullLogger<ClusterState>.Instance);
        Reads = new ViewReads(State, Store, Time);
        Incarnations = new IncarnationKeeper(State, Store, Writer, NullLogger<IncarnationKeeper>.Instance);
        Beats = new HeartbeatTable(Time) { NewsAfter = Terms.SuspectAfter };
        Registry = new NodeRegistry(
            Reads, Writer, Incarnations, Beats, Terms, new ServerNetworkConfiguration(), Random, Time, NullLogger<NodeRegistry>.Instance);
        Feed = new AssignmentFeed(State, Incarnations);
        Intake = new StatusIntake(Reads, State, Writer, Time);
        Placer = new Placer(State, PlacementStrategy.Spread, Time);
        Placements = new PlacementController(State, Store, Writer, Placer, Time, NullLogger<PlacementController>.Instance);
        Evictor = new Evictor(State, Writer, Time, NullLogger<Evictor>.Instance);
        Evacuations = new EvacuationController(State, Evictor, Placer, new DrainReports(State, Writer, Time), Time, NullLogger<EvacuationController>.Instance);
        Health = new NodeHealthController(State, Writer, Beats, Terms, Time, NullLogger<NodeHealthController>.Instance);
        var members = new MemberCreation(Placer, Writer, Random, Time);
        Groups = new GroupReconciler(
            State, Writer, members, new GangCreation(members, Placer, Writer, Random, Time, NullLogger<GangCreation>.Instance), Time);
        Tombstones = new TombstoneCollector(State, Writer, Time, NullLogger<TombstoneCollector>.Instance);
        _following = State.RunAsync(_stopping.Token);
    }

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public CountingRandom Random { get; } = new();

    public MemoryStore Store { get; }

    public StoreWriter Writer { get; }

    public ClusterState State { get; }

    public ViewReads Reads { get; }

    public IncarnationKeeper Incarnations { get; }

    public HeartbeatTable Beats { get; }

    public NodeRegistry Registry { get; }

    public AssignmentFeed Feed { get; }

    public StatusIntake Intake { get; }

    public Placer Placer { get; }

    public PlacementController Placements { get; }

    public Evictor Evictor { get; }

    public EvacuationController Evacuations { get; }

    public NodeHealthController Health { get; }

    public GroupReconciler Groups { get; }

    public TombstoneCollector Tombstones { get; }

    public static async Task<ControlPlane> StartAsync(CancellationToken cancellationToken)
    {
        var plane = new ControlPlane();
        await plane.State.WaitUntilLoadedAsync(cancellationToken);
        return plane;
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await _following.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Writer.DisposeAsync();
        await Store.DisposeAsync();
        _stopping.Dispose();
    }

    public Task<ILeadership> CampaignAsync(CancellationToken cancellationToken) =>
        Store.CampaignAsync(Keys.ControllerElection, "test", Hypervisor.Server.Limits.Control.LeaderLease, cancellationToken);

    /// <summary>The view once it includes everything written so far.</summary>
    public async Task<ClusterView> ViewAsync(CancellationToken cancellationToken) =>
        await Reads.ViewAsync(Consistency.Linearizable, cancellationToken);

    public static RegisterNodeRequest Registration(string name, long memoryBytes = 8L << 30, string credential = "", string registrationId = "", int gpus = 0) => new()
    {
        Name = name,
        Credential = credential,
        RegistrationId = registrationId,
        Inventory = new()
        {
            Hostname = name,
            AgentAddress = "127.0.0.1:50052",
            Capacity = Scheduling.Nodes.Devices(("gpu", gpus)).AddTo(new() { CpuMillicores = 4000, MemoryBytes = memoryBytes, DiskBytes = 100L << 30 }),
            Runtimes = { new RuntimeInfo { Type = InstanceType.Container, Driver = "containerd", Version = "1", Available = true } },
        },
    };

    /// <summary>A registered node that is Ready.</summary>
    public async Task<NodeId> ReadyNodeAsync(string name, CancellationToken cancellationToken, long memoryBytes = 8L << 30, int gpus = 0)
    {
        var registered = await Registry.RegisterAsync(Registration(name, memoryBytes, gpus: gpus), cancellationToken);
        var id = new NodeId(registered.Node.Metadata.Uid);
        await PutAsync(Keys.NodeHealth(id), new NodeHealthRecord { Liveness = NodeLiveness.Ready }, cancellationToken);
        return id;
    }

    /// <summary>An instance as the API writes it, not placed yet.</summary>
    public async Task<InstanceId> PendingAsync(
        string name,
        CancellationToken cancellationToken,
        long memoryBytes = 64 << 20,
        DiskKind disk = DiskKind.Ephemeral,
        Action<InstanceSpecRecord>? change = null)
    {
        var id = new InstanceId(Random.NewOrderedUid(Time.GetUtcNow()));
        var record = new InstanceSpecRecord
        {
            Metadata = new() { Name = name, Project = "default", Uid = id.Value, Generation = 1, CreatedAt = Time.GetUtcNow().ToTimestamp() },
            Spec = new()
            {
                Type = InstanceType.Container,
                Image = "busybox",
                Resources = new() { CpuMillicores = 100, MemoryBytes = memoryBytes },
                Disks = { new Disk { Name = "root", Kind = disk } },
            },
            Requests = { new RequestRecord { RequestId = "create-" + name } },
        };
        change?.Invoke(record);
        await PutAsync(Keys.Spec("default", name), record, cancellationToken);
        return id;
    }

    /// <summary>An instance with a placement, however that came about.</summary>
    public async Task<InstanceId> PlacedAsync(string name, NodeId node, CancellationToken cancellationToken)
    {
        var id = await PendingAsync(name, cancellationToken);
        await PlaceAsync(id, node, cancellationToken);
        return id;
    }

    /// <summary>Gives the instance its next epoch, on this node.</summary>
    public async Task<Epoch> PlaceAsync(InstanceId id, NodeId node, CancellationToken cancellationToken)
    {
        var view = await ViewAsync(cancellationToken);
        var epoch = Epoch.After(view.Instance(id)!.Epoch, view.Incarnation);
        await PutAsync(
            Keys.Placement(id),
            new PlacementRecord
            {
                Placement = new() { Node = view.Node(node)?.Name ?? "gone", NodeUid = node.Value, Epoch = epoch.Value },
                Reserved = view.Instance(id)!.Spec.Resources,
            },
            cancellationToken);
        return epoch;
    }

    public async Task DeleteAsync(InstanceId id, CancellationToken cancellationToken)
    {
        var entry = (await ViewAsync(cancellationToken)).Instance(id)!;
        var record = entry.SpecRecord;
        record.Metadata.DeletedAt = Time.GetUtcNow().ToTimestamp();
        await PutAsync(entry.SpecKey, record, cancellationToken);
    }

    public Task PutAsync(string key, IMessage value, CancellationToken cancellationToken) =>
        WriteAsync([new StoreOperation.Put(key, value.ToByteArray())], cancellationToken);

    public async Task WriteAsync(IReadOnlyList<StoreOperation> operations, CancellationToken cancellationToken)
    {
        var result = await Writer.WriteAsync(new([], operations), cancellationToken);
        await State.WaitForRevisionAsync(result.Revision, cancellationToken);
    }
}

/// <summary>Never the same twice, and the same in every run.</summary>
internal sealed class CountingRandom : IRandomSource
{
    private long _next;

    public void Fill(Span<byte> buffer)
    {
        // At the end: the beginning of a uid may be the time.
        buffer.Clear();
        Span<byte> number = stackalloc byte[8];
        BinaryPrimitives.WriteInt64BigEndian(number, ++_next);
        var digits = Math.Min(number.Length, buffer.Length);
        number[^digits..].CopyTo(buffer[^digits..]);
    }
}
