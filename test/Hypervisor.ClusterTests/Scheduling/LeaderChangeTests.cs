using Grpc.Core;
using Hypervisor.ClusterTests.Proof;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>
/// Protects: on two shipped servers and one etcd: whichever server is asked, and whichever dies, what was begun is ended as it was meant, once. The nodes are
/// the tests' own, so that each moment between being told and having done it lasts as long as a test wants.
/// </summary>
public sealed class LeaderChangeTests : IAsyncLifetime
{
    private static readonly Resources Each = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 };

    private readonly HttpClient _http = new();
    private readonly List<(string Name, int Instances)> _names = [];
    private readonly List<FakeNode> _nodes = [];
    private readonly ChannelBase?[] _channels = new ChannelBase?[2];
    private readonly TaskCompletionSource _stops = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Servers _servers = null!;
    private int _leader = -1;

    private int Other => 1 - _leader;

    public async ValueTask InitializeAsync()
    {
        _servers = await Servers.StartAsync(servers: 2, etcdMembers: 1, "heartbeat:\n  interval: 500ms\n  timeout: 3s\n");
        await RealTime.UntilAsync("one leads", TimeSpan.FromSeconds(30), async () =>
            (_leader = await LeadsAsync(0) ? 0 : await LeadsAsync(1) ? 1 : -1) >= 0);
    }

    public async ValueTask DisposeAsync()
    {
        _stops.TrySetResult();
        await StopNodesAsync();
        await _servers.DisposeAsync();
        _http.Dispose();
    }

    [Fact(Timeout = 180_000)]
    public async Task A_server_that_does_not_lead_has_the_leader_rebalance()
    {
        _stops.SetResult();
        await NodeAsync("one", 8);
        foreach (var index in Enumerable.Range(0, 4))
        {
            await CreateAsync($"i{index}", RebalancePolicy.Allow);
        }

        await UntilAllRunAsync(4);
        await NodeAsync("two", 8);

        // A call that another server has passed on is not passed on again.
        var passed = new Metadata { { "hypervisor-forwarded", "1" } };
        var refused = await Assert.ThrowsAsync<RpcException>(
            () => Cluster(Other).RebalanceAsync(new RebalanceRequest { Apply = true }, passed, LocalCluster.Deadline(30)).ResponseAsync);
        Assert.Equal(StatusCode.Unavailable, refused.StatusCode);

        var shown = await Cluster(Other).RebalanceAsync(new RebalanceRequest(), deadline: LocalCluster.Deadline(30));
        Assert.Equal(2, shown.Moves.Count(move => !move.Applied));
        var applied = await Cluster(Other).RebalanceAsync(new RebalanceRequest { Apply = true }, deadline: LocalCluster.Deadline(30));

        Assert.Equal(shown.Moves.Select(move => move.Instance), applied.Moves.Select(move => move.Instance));
        Assert.All(applied.Moves, move => Assert.True(move is { Applied: true, From: "one", To: "two" }, move.ToString()));
        await RealTime.UntilAsync("the moves are done", TimeSpan.FromSeconds(60), async () =>
            (await ListAsync()).Where(instance => applied.Moves.Any(move => move.InstanceUid == instance.Metadata.Uid)).All(instance => RunsOn(instance, "two")));
        Assert.Equal((2, 2), (_nodes[0].Held, _nodes[1].Held));
        var again = await Cluster(Other).RebalanceAsync(new RebalanceRequest { Apply = true }, deadline: LocalCluster.Deadline(30));
        Assert.Empty(again.Moves);
    }

    /// <summary>Protects: what nobody wants to wait for is decided by who knows what is on its way, however it is asked for: no more is taken in than has room.</summary>
    [Fact(Timeout = 180_000)]
    public async Task A_server_that_does_not_lead_has_the_leader_create_what_is_not_to_wait()
    {
        _stops.SetResult();
        await NodeAsync("one", 2);
        CreateInstanceRequest Asking(string name) => new()
        {
            Name = name,
            FailFast = true,
            Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Resources = Each },
        };
        var bulk = new CreateInstancesRequest { BatchSize = 1, Requests = { Asking("a"), Asking("b"), Asking("c") } };

        var passed = new Metadata { { "hypervisor-forwarded", "1" } };
        foreach (var call in (Func<Task>[])
        [
            () => Compute.CreateInstanceAsync(Asking("a"), passed, LocalCluster.Deadline(30)).ResponseAsync,
            () => Compute.CreateInstancesAsync(bulk, passed, LocalCluster.Deadline(30)).ResponseAsync,
        ])
        {
            Assert.Equal(StatusCode.Unavailable, (await Assert.ThrowsAsync<RpcException>(call)).StatusCode);
        }

        var answer = await Compute.CreateInstancesAsync(bulk, deadline: LocalCluster.Deadline(30));
        Assert.Equal(2, answer.Results.Count(result => result.Instance?.Placement.Node == "one"));
        Assert.Equal((int)StatusCode.FailedPrecondition, Assert.Single(answer.Results, result => result.Error is not null).Error.Code);
        var late = await Assert.ThrowsAsync<RpcException>(() => Compute.CreateInstanceAsync(Asking("d"), deadline: LocalCluster.Deadline(30)).ResponseAsync);
        Assert.Contains("fits on no node now", late.Status.Detail, StringComparison.Ordinal);

        // This server shows at once what was created there.
        Assert.Equal(2, (await Compute.ListInstancesAsync(new ListInstancesRequest { Consistency = Consistency.Stale }, deadline: LocalCluster.Deadline(30))).Instances.Count);
    }

    /// <summary>Protects: a move goes where it was meant to, by an objective that is not the instance's own, also when its leader is gone before it is done.</summary>
    [Fact(Timeout = 180_000)]
    public async Task A_move_whose_leader_dies_in_the_middle_ends_where_it_was_to()
    {
        await NodeAsync("one", 8);
        await CreateAsync("moves", RebalancePolicy.Allow);
        await UntilAllRunAsync(1);
        await NodeAsync("two", 8);
        await ScheduleAsync("one", NodeScheduling.Cordoned);
        foreach (var index in Enumerable.Range(0, 3))
        {
            await CreateAsync($"stays-{index}", RebalancePolicy.Never);
        }

        await UntilAllRunAsync(4);
        await ScheduleAsync("one", NodeScheduling.Schedulable);
        var before = await GetAsync("moves");
        var applied = await Cluster(Other).RebalanceAsync(
            new RebalanceRequest { Apply = true, Objective = PlacementStrategy.Binpack }, deadline: LocalCluster.Deadline(30));
        Assert.True(Assert.Single(applied.Moves) is { Applied: true, Instance: "default/moves", From: "one", To: "two" }, applied.Moves.ToString());
        Assert.Equal("Rebalanced", (await GetAsync("moves")).Placement.Eviction?.Reason);

        await KillLeaderAsync();
        Assert.Equal((before.Placement.Node, before.Placement.Epoch), ((await GetAsync("moves")).Placement.Node, (await GetAsync("moves")).Placement.Epoch));
        _stops.SetResult();

        // By its own strategy it would go back to "one", which is empty then.
        await RealTime.UntilAsync("it runs on the other node", TimeSpan.FromSeconds(60), async () => RunsOn(await GetAsync("moves"), "two"));
        var after = await GetAsync("moves");
        Assert.Null(after.Placement.Eviction);
        Assert.True(after.Placement.Epoch > before.Placement.Epoch);
        Assert.Equal((0, 4), (_nodes[0].Held, _nodes[1].Held));
    }

    /// <summary>Protects: who rests in place rests under any leader, and goes on where it is, under its epoch, when there is room again.</summary>
    /// <param name="rests">The leader dies after the node has said that it rests, or before.</param>
    [Theory(Timeout = 180_000)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task One_that_makes_room_in_place_goes_on_there_when_its_leader_is_gone(bool rests)
    {
        await NodeAsync("one", 1);

        // Its disk is a local one: that is what VMs have.
        await CreateAsync("local", RebalancePolicy.Unspecified, spec => spec.Type = InstanceType.Vm);
        await UntilAllRunAsync(1);
        var before = await GetAsync("local");
        if (rests)
        {
            _stops.SetResult();
        }

        await CreateAsync("high", RebalancePolicy.Unspecified, spec => spec.Constraints.Priority = 10);
        await RealTime.UntilAsync("it is told", TimeSpan.FromSeconds(30), async () => (await GetAsync("local")).Placement.Eviction is { InPlace: true } told && told.Parked == rests);
        if (rests)
        {
            await RealTime.UntilAsync("the other one has its room", TimeSpan.FromSeconds(30), async () => RunsOn(await GetAsync("high"), "one"));
        }

        await KillLeaderAsync();
        _stops.TrySetResult();
        await RealTime.UntilAsync("the other one runs in its room", TimeSpan.FromSeconds(60), async () => RunsOn(await GetAsync("high"), "one"));
        var parked = await GetAsync("local");
        Assert.Equal(("one", before.Placement.Epoch, true), (parked.Placement.Node, parked.Placement.Epoch, parked.Placement.Eviction?.Parked));
        Assert.Equal((InstanceState.Suspended, "Preempted"), (parked.Status.State, parked.Status.Reason));

        await Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = "high" }, deadline: LocalCluster.Deadline(30));
        await RealTime.UntilAsync("it goes on", TimeSpan.FromSeconds(60), async () => RunsOn(await GetAsync("local"), "one"));
        var after = await GetAsync("local");
        Assert.Equal((before.Placement.Epoch, null), (after.Placement.Epoch, after.Placement.Eviction));
    }

    /// <summary>Of the server that is there until the end.</summary>
    private ComputeService.ComputeServiceClient Compute => new(Channel(Other));

    private ClusterService.ClusterServiceClient Cluster(int server) => new(Channel(server));

    private ChannelBase Channel(int server) => _channels[server] ??= _servers.Open(server);

    /// <summary>Nodes speak to the server that leads.</summary>
    private async Task NodeAsync(string name, int instances)
    {
        _names.Add((name, instances));
        _nodes.Add(await FakeNode.StartAsync(_servers, name, instances, Each, _leader, _stops.Task));
    }

    /// <summary>And to the next one when it is gone.</summary>
    private async Task KillLeaderAsync()
    {
        await StopNodesAsync();
        await _servers.Processes[_leader].KillAsync();
        await RealTime.UntilAsync("the other one leads", TimeSpan.FromSeconds(60), () => LeadsAsync(Other));
        foreach (var (name, instances) in _names)
        {
            _nodes.Add(await FakeNode.StartAsync(_servers, name, instances, Each, Other, _stops.Task));
        }
    }

    private async Task StopNodesAsync()
    {
        foreach (var node in _nodes)
        {
            await node.DisposeAsync();
        }

        _nodes.Clear();
    }

    private async Task ScheduleAsync(string node, NodeScheduling scheduling) => await Cluster(Other).UpdateNodeAsync(
        new UpdateNodeRequest
        {
            Node = new Node { Metadata = new ObjectMeta { Name = node }, Spec = new NodeSpec { Scheduling = scheduling } },
            UpdateMask = new() { Paths = { "spec.scheduling" } },
        },
        deadline: LocalCluster.Deadline(30));

    private async Task CreateAsync(string name, RebalancePolicy rebalance, Action<InstanceSpec>? change = null)
    {
        var spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Resources = Each, Constraints = new PlacementConstraints { Rebalance = rebalance } };
        change?.Invoke(spec);
        await Compute.CreateInstanceAsync(new CreateInstanceRequest { Name = name, Spec = spec }, deadline: LocalCluster.Deadline(30));
    }

    private async Task<Instance> GetAsync(string name) =>
        await Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(30));

    private async Task<IReadOnlyList<Instance>> ListAsync() =>
        (await Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(30))).Instances;

    private Task UntilAllRunAsync(int count) => RealTime.UntilAsync($"all {count} run", TimeSpan.FromSeconds(60), async () =>
        await ListAsync() is var all && all.Count == count && all.All(instance => instance.Status.State == InstanceState.Running));

    private static bool RunsOn(Instance instance, string node) => instance.Placement.Node == node && instance.Status.State == InstanceState.Running;

    private async Task<bool> LeadsAsync(int server) =>
        (await _http.GetStringAsync(new Uri(_servers.HttpOf(server), "/metrics"))).Contains("\nhypervisor_leader 1", StringComparison.Ordinal);
}
