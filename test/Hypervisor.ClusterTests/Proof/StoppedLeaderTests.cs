using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects StaleLeaderInert with a real process: a server that leads, is stopped until another leads, and goes on believing that it
/// still does, changes nothing; and what was asked of it meanwhile is done once, or refused.
/// </summary>
public sealed class StoppedLeaderTests
{
    private const int Instances = 6;

    private static readonly Resources Each = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 };

    [Fact(Timeout = 180_000)]
    public async Task A_leader_that_was_stopped_for_some_leases_changes_nothing_when_it_goes_on()
    {
        await using var servers = await Servers.StartAsync(servers: 2, etcdMembers: 1, "heartbeat:\n  interval: 500ms\n  timeout: 3s\n");
        using var http = new HttpClient();
        var stopped = -1;
        await RealTime.UntilAsync("one leads", TimeSpan.FromSeconds(30), async () => (stopped = await LeaderAsync(http, servers)) >= 0);
        var other = 1 - stopped;
        var (asleep, awake) = (new ComputeService.ComputeServiceClient(servers.Open(stopped)), new ComputeService.ComputeServiceClient(servers.Open(other)));
        var nodes = new ClusterService.ClusterServiceClient(servers.Open(other));
        await using var one = await FakeNode.StartAsync(servers, "one", 2 * Instances, Each, stopped);
        for (var index = 0; index < Instances; index++)
        {
            await asleep.CreateInstanceAsync(Request($"before-{index}"), deadline: LocalCluster.Deadline(30));
        }

        await RealTime.UntilAsync("the node has all of them", TimeSpan.FromSeconds(30), () => one.Held == Instances);

        var process = servers.Processes[stopped];
        process.Signal(Linux.SignalStop);
        List<Task<bool>> asked;
        FakeNode two;
        Node oneBefore, twoBefore;
        Instance placed;
        try
        {
            // Only a leader does this: each is done by what the process takes itself for when it reads it.
            asked = [.. Enumerable.Range(0, Instances).Select(index => GrowAsync(asleep, $"before-{index}"))];
            await RealTime.UntilAsync("the other one leads", TimeSpan.FromSeconds(60), () => LeadsAsync(http, servers, other));
            two = await FakeNode.StartAsync(servers, "two", 2 * Instances, Each, other);
            await RealTime.UntilAsync("what speaks to the stopped one counts as gone", TimeSpan.FromSeconds(60), async () =>
                (await NodeAsync(nodes, "one")).Status.Liveness == NodeLiveness.Down);
            await awake.CreateInstanceAsync(Request("meanwhile"), deadline: LocalCluster.Deadline(30));
            await RealTime.UntilAsync("the other one's instance runs", TimeSpan.FromSeconds(30), async () =>
                (await GetAsync(awake, "meanwhile")).Status.State == InstanceState.Running);
            (oneBefore, twoBefore, placed) = (await NodeAsync(nodes, "one"), await NodeAsync(nodes, "two"), await GetAsync(awake, "meanwhile"));
        }
        finally
        {
            process.Signal(Linux.SignalContinue);
        }

        await using var second = two;
        var grown = await Task.WhenAll(asked);
        await RealTime.UntilAsync("it knows that it was deposed", TimeSpan.FromSeconds(30), () =>
            process.Log.Contains("no longer leads the controllers", StringComparison.Ordinal));
        Assert.Equal((false, true), (await LeadsAsync(http, servers, stopped), await LeadsAsync(http, servers, other)));

        // It hears the first node again and never heard of the second, and must not have said so.
        var (oneAfter, twoAfter) = (await NodeAsync(nodes, "one"), await NodeAsync(nodes, "two"));
        Assert.Equal((NodeLiveness.Down, oneBefore.Status.LivenessSince), (oneAfter.Status.Liveness, oneAfter.Status.LivenessSince));
        Assert.Equal((NodeLiveness.Ready, twoBefore.Status.LivenessSince), (twoAfter.Status.Liveness, twoAfter.Status.LivenessSince));
        Assert.Equal(placed.Placement, (await GetAsync(asleep, "meanwhile")).Placement);

        // What was asked of it was done by the one that leads, whole, or refused.
        var memory = placed.Spec.Resources.MemoryBytes;
        for (var index = 0; index < Instances; index++)
        {
            var here = await GetAsync(asleep, $"before-{index}");
            Assert.Equal(here, await GetAsync(awake, $"before-{index}"));
            Assert.Equal(grown[index] ? 2 * Each.MemoryBytes : Each.MemoryBytes, here.Spec.Resources.MemoryBytes);
            memory += here.Spec.Resources.MemoryBytes;
        }

        Assert.Equal(
            (Instances + 1, memory),
            (oneAfter.Status.InstanceCount + twoAfter.Status.InstanceCount, oneAfter.Status.Allocated.MemoryBytes + twoAfter.Status.Allocated.MemoryBytes));
    }

    private static CreateInstanceRequest Request(string name) => new()
    {
        Name = name,
        Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Resources = Each },
    };

    /// <returns>Whether it was acknowledged.</returns>
    private static async Task<bool> GrowAsync(ComputeService.ComputeServiceClient compute, string name)
    {
        var request = new UpdateInstanceRequest
        {
            Instance = new Instance
            {
                Metadata = new ObjectMeta { Name = name },
                Spec = new InstanceSpec { Resources = new Resources { MemoryBytes = 2 * Each.MemoryBytes } },
            },
            UpdateMask = new() { Paths = { "spec.resources.memory_bytes" } },
        };
        try
        {
            await compute.UpdateInstanceAsync(request, deadline: LocalCluster.Deadline(90));
            return true;
        }
        catch (RpcException exception) when (exception.StatusCode is StatusCode.Unavailable or StatusCode.Aborted or StatusCode.FailedPrecondition)
        {
            return false;
        }
    }

    private static async Task<Instance> GetAsync(ComputeService.ComputeServiceClient compute, string name) =>
        await compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(30));

    private static async Task<Node> NodeAsync(ClusterService.ClusterServiceClient nodes, string name) =>
        await nodes.GetNodeAsync(new GetNodeRequest { Node = name }, deadline: LocalCluster.Deadline(30));

    private static async Task<int> LeaderAsync(HttpClient http, Servers servers) =>
        await LeadsAsync(http, servers, 0) ? 0 : await LeadsAsync(http, servers, 1) ? 1 : -1;

    private static async Task<bool> LeadsAsync(HttpClient http, Servers servers, int index) =>
        (await http.GetStringAsync(new Uri(servers.HttpOf(index), "/metrics"))).Contains("\nhypervisor_leader 1", StringComparison.Ordinal);
}
