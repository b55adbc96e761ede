using Grpc.Core;
using Hypervisor.Bench.Fleets;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Tests.Server;
using Xunit;

namespace Hypervisor.Tests.Bench.Fleets;

/// <summary>Protects what is concluded from simulated nodes: to a real server they look and behave as real ones.</summary>
public sealed class SimulatedFleetTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly CancellationTokenSource _deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private RunningServer _server = null!;

    private CancellationToken Token => _deadline.Token;

    private ClusterService.ClusterServiceClient Cluster => new(_server.Channel);

    private ComputeService.ComputeServiceClient Compute => new(_server.Channel);

    public async ValueTask InitializeAsync()
    {
        _deadline.CancelAfter(Patience);
        _server = await RunningServer.StartAsync(Token, configuration => configuration with
        {
            Heartbeat = new() { Interval = TimeSpan.FromMilliseconds(100), Timeout = TimeSpan.FromSeconds(2) },
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _deadline.Dispose();
    }

    [Fact]
    public async Task Its_nodes_become_ready_and_say_that_they_run_what_they_are_assigned()
    {
        await using var fleet = await StartAsync(5, "pools: [{zones: [a, b], labels: {rack: r1}, start: 20ms-50ms}]");
        await LivenessAsync("sim-00004", NodeLiveness.Ready);

        var created = await CreateAsync("web", "b");
        await StateAsync("web", InstanceState.Running);

        var node = await Cluster.GetNodeAsync(new() { Node = created.Placement.Node }, cancellationToken: Token);
        Assert.Equal(("b", "r1", "true"), (node.Status.Inventory.Zone, node.Metadata.Labels["rack"], node.Metadata.Labels[SimulatedAgent.Label]));
        Assert.Equal(1, fleet.Counters.Held);
        Assert.Equal(1, fleet.Agents.Single(agent => agent.Node.Name == node.Metadata.Name).Held.Count);

        await Compute.DeleteInstanceAsync(new() { Instance = "web" }, cancellationToken: Token);
        await GoneAsync("web");
        Assert.Equal(0, fleet.Counters.Held);
    }

    [Fact]
    public async Task A_silent_node_is_down_until_it_returns_and_keeps_what_it_has()
    {
        await using var fleet = await StartAsync(1, "");
        await CreateAsync("web");
        await StateAsync("web", InstanceState.Running);

        fleet.Agents[0].Behave(Conduct.Silent);
        await StateAsync("web", InstanceState.Unknown);
        await LivenessAsync("sim-00000", NodeLiveness.Down);

        fleet.Agents[0].Behave(Conduct.Normal);
        await LivenessAsync("sim-00000", NodeLiveness.Ready);
        await StateAsync("web", InstanceState.Running);
        Assert.Equal(1, fleet.Counters.Held);
    }

    [Fact]
    public async Task A_script_kills_a_node_that_comes_back_as_itself_and_starts_again_what_it_had()
    {
        await using var fleet = await StartAsync(2, """
            pools: [{zones: [a, b]}]
            events: [{at: 0s, do: die, zone: b}]
            """);
        await LivenessAsync("sim-00001", NodeLiveness.Down);
        var uid = (await Cluster.GetNodeAsync(new() { Node = "sim-00001" }, cancellationToken: Token)).Metadata.Uid;

        fleet.Agents[1].Behave(Conduct.Normal);
        await LivenessAsync("sim-00001", NodeLiveness.Ready);
        await CreateAsync("web", "b");
        await StateAsync("web", InstanceState.Running);
        fleet.Agents[1].Behave(Conduct.Dead);
        Assert.Equal(0, fleet.Counters.Held);
        fleet.Agents[1].Behave(Conduct.Normal);
        await StateAsync("web", InstanceState.Running);

        Assert.Equal(uid, (await Cluster.GetNodeAsync(new() { Node = "sim-00001" }, cancellationToken: Token)).Metadata.Uid);
    }

    [Fact]
    public async Task A_node_that_refuses_reports_what_it_is_assigned_as_failed()
    {
        await using var fleet = await StartAsync(1, "");
        fleet.Agents[0].Behave(Conduct.Refusing);

        await CreateAsync("web");

        await StateAsync("web", InstanceState.Failed);
    }

    [Fact]
    public async Task A_fleet_of_the_same_name_is_the_same_nodes_again()
    {
        await (await StartAsync(3, "")).DisposeAsync();
        await using var again = await StartAsync(3, "");

        Assert.Equal(3, (await Cluster.GetClusterInfoAsync(new(), cancellationToken: Token)).NodesTotal);
    }

    [Fact]
    public async Task Nodes_that_cannot_register_are_told_of_and_not_waited_for()
    {
        await Cluster.RegisterNodeAsync(ControlPlane.Registration("sim-00000"), deadline: null, cancellationToken: Token);

        var late = await Assert.ThrowsAsync<TimeoutException>(() => StartAsync(1, "", within: TimeSpan.FromSeconds(1)));

        Assert.Contains("1 of 1 simulated nodes are not registered within 1 s. sim-00000: Node 'sim-00000' is registered with another credential", late.Message);
    }

    private async Task<SimulatedFleet> StartAsync(int nodes, string script, TimeSpan? within = null)
    {
        var parsed = FleetScriptLoader.Parse(YamlDocument.Load(script, "fleet.yaml"));
        var fleet = new SimulatedFleet(_server.GrpcAddress, parsed, parsed.Nodes(nodes, "sim"), RealClock.Instance);
        try
        {
            await fleet.StartAsync(within ?? Patience);
            return fleet;
        }
        catch
        {
            await fleet.DisposeAsync();
            throw;
        }
    }

    private async Task<Instance> CreateAsync(string name, string zone = "") => await Compute.CreateInstanceAsync(
        new()
        {
            Name = name,
            Spec = new() { Type = InstanceType.Container, Image = "busybox", Constraints = zone.Length > 0 ? new() { Zone = zone } : null },
        },
        cancellationToken: Token);

    private async Task LivenessAsync(string name, NodeLiveness wanted)
    {
        using var watch = Cluster.WatchNodes(new(), cancellationToken: Token);
        await foreach (var change in watch.ResponseStream.ReadAllAsync(Token))
        {
            if (change.Node?.Metadata.Name == name && change.Node.Status.Liveness == wanted)
            {
                return;
            }
        }
    }

    private async Task StateAsync(string name, InstanceState wanted)
    {
        using var watch = Compute.WatchInstances(new(), cancellationToken: Token);
        await foreach (var change in watch.ResponseStream.ReadAllAsync(Token))
        {
            if (change.Instance?.Metadata.Name == name && change.Instance.Status.State == wanted)
            {
                return;
            }
        }
    }

    private async Task GoneAsync(string name)
    {
        using var watch = Compute.WatchInstances(new(), cancellationToken: Token);
        var present = false;
        await foreach (var change in watch.ResponseStream.ReadAllAsync(Token))
        {
            present |= change.Instance?.Metadata.Name == name && change.Type != WatchEventType.Deleted;
            if ((change.Type == WatchEventType.Bookmark && !present) || (change.Type == WatchEventType.Deleted && change.Instance?.Metadata.Name == name))
            {
                return;
            }
        }
    }
}
