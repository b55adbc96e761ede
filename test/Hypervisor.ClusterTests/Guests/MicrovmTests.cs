using System.Net;
using System.Net.Sockets;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>Protects: the image that runs as a container runs as a microVM and as a VM, survives what a container survives, and leaves nothing.</summary>
public sealed partial class MicrovmTests(MicrovmTests.Fixture fixture) : IClassFixture<MicrovmTests.Fixture>
{
    private LocalCluster Cluster => fixture.Cluster;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(InstanceType.Microvm, "qemu")]
    [InlineData(InstanceType.Vm, "libvirt")]
    public async Task A_guest_runs_answers_survives_and_disappears(InstanceType type, string driver)
    {
        await CreateAsync(type, "web", "httpd", "-f", "-v", "-p", "80", "-h", "/var/www");
        var running = await RunsAsync("web", instance => true);
        Assert.Equal((driver, "tcg"), (running.Status.Driver, running.Status.Accelerator));
        Assert.Contains("It runs.", await FetchAsync(running), StringComparison.Ordinal);
        Assert.Equal((5, "web\n"), await ExecAsync("web", "sh", "-c", "hostname; exit 5"));

        // An agent that is started again finds it as it is.
        var machine = Assert.Single(new Leftovers(Cluster).Machines());
        await Cluster.Agent.KillAsync();
        Cluster.Agent.Start();
        await RealTime.UntilAsync("the agent answers for it", TimeSpan.FromSeconds(30), async () => (await ExecOrNullAsync("web", "true"))?.Code == 0);
        Assert.Equal(machine, Assert.Single(new Leftovers(Cluster).Machines()));

        // One whose VMM is killed vanished, and is started again.
        Linux.Signal(machine, Linux.SignalKill);
        var again = await RunsAsync("web", instance => instance.Status.StartedAt != running.Status.StartedAt);
        Assert.NotEqual(machine, Assert.Single(new Leftovers(Cluster).Machines()));
        Assert.Contains("It runs.", await FetchAsync(again), StringComparison.Ordinal);

        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "web" }, deadline: LocalCluster.Deadline(10));
        var stopped = await Cluster.InstanceAsync("web", "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null);
        Assert.Equal((143, 15), (stopped.Status.Exit.Code, stopped.Status.Exit.Signal));
        Assert.Empty(new Leftovers(Cluster).Machines());

        await DeleteAsync("web");
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    [Fact]
    public async Task How_its_process_ended_and_what_it_wrote_is_known()
    {
        await CreateAsync(InstanceType.Microvm, "ends", "sh", "-c", "echo out; echo err >&2; exit 3");
        var ended = await Cluster.InstanceAsync("ends", "ends", instance => instance.Status.Exit is not null, seconds: 60);
        var lines = new List<string>();
        using (var logs = Cluster.Compute.StreamLogs(new StreamLogsRequest { Instance = "ends" }, deadline: LocalCluster.Deadline(20)))
        {
            await foreach (var part in logs.ResponseStream.ReadAllAsync(Cancel))
            {
                lines.Add(part.ToString());
            }
        }

        await DeleteAsync("ends");

        Assert.Equal((InstanceState.Failed, 3), (ended.Status.State, ended.Status.Exit.Code));
        Assert.Contains(lines, line => line.Contains("b3V0", StringComparison.Ordinal) || line.Contains("out", StringComparison.Ordinal));
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    private async Task CreateAsync(InstanceType type, string name, params string[] command) => await Cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = type,
                Image = "busybox",
                Resources = new Resources { CpuMillicores = 1000, MemoryBytes = 128 << 20 },
                Process = new ProcessSpec { Command = { command } },
                Stop = new StopSpec { GracePeriod = Duration.FromTimeSpan(TimeSpan.FromSeconds(5)) },
            },
        },
        deadline: LocalCluster.Deadline(10));

    private Task<Instance> RunsAsync(string name, Func<Instance, bool> condition) =>
        Cluster.InstanceAsync(name, "runs", instance => instance.Status.State == InstanceState.Running && condition(instance), seconds: 60);

    private async Task DeleteAsync(string name)
    {
        await Cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
            (await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5)))
                .Instances.All(instance => instance.Metadata.Name != name));
    }

    private async Task<(int Code, string Output)?> ExecOrNullAsync(string name, params string[] command)
    {
        try
        {
            return await ExecAsync(name, command);
        }
        catch (RpcException)
        {
            return null;
        }
    }

    private async Task<(int Code, string Output)> ExecAsync(string name, params string[] command)
    {
        using var call = Cluster.Compute.Exec(deadline: LocalCluster.Deadline(20));
        await call.RequestStream.WriteAsync(new ExecInput { Instance = name, Command = { command } }, Cancel);
        var output = "";
        var code = -1;
        await foreach (var message in call.ResponseStream.ReadAllAsync(Cancel))
        {
            output += message.Stdout.ToStringUtf8();
            code = message.Exit?.Code ?? code;
        }

        return (code, output);
    }

    private async Task<string> FetchAsync(Instance instance)
    {
        var address = instance.Status.IpAddresses.Single();
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, _) => new NetworkStream(await Cluster.ConnectAsync(new IPEndPoint(IPAddress.Parse(address), 80)), ownsSocket: true),
        });
        var page = "";

        // The init runs before the program does, and the program before it listens.
        await RealTime.UntilAsync("it answers", TimeSpan.FromSeconds(30), async () =>
        {
            try
            {
                page = await client.GetStringAsync($"http://{address}/", Cancel);
                return true;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        });
        return page;
    }

    public sealed class Fixture : IAsyncLifetime
    {
        internal LocalCluster Cluster { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Cluster = await LocalCluster.StartAsync(new LocalClusterOptions { Libvirt = true });
            await Cluster.ImportBusyboxAsync();
            await RealTime.UntilAsync("the node runs microVMs and VMs", TimeSpan.FromSeconds(60), async () =>
                (await Cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
                    .Nodes.Any(node => node.Status.Inventory.Runtimes.Count(runtime => runtime is { Type: InstanceType.Microvm or InstanceType.Vm, Available: true }) == 2));
        }

        public ValueTask DisposeAsync() => Cluster.DisposeAsync();
    }
}
