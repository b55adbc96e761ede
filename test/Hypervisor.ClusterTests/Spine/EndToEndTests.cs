using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>Protects the spine: what is asked for through the API becomes a real process, and nothing of it is left after deletion.</summary>
public abstract class EndToEnd(EndToEnd.Fixture fixture)
{
    private LocalCluster Cluster => fixture.Cluster;

    [Fact]
    public async Task A_container_runs_answers_and_disappears()
    {
        await CreateAsync("web", "httpd", "-f", "-p", "80", "-h", "/var/www");
        var running = await Cluster.InstanceAsync("web", "runs", instance => instance.Status.State == InstanceState.Running);
        var page = "";
        await RealTime.UntilAsync("the server listens", TimeSpan.FromSeconds(20), async () =>
            (page = await TryFetchAsync(running.Status.IpAddresses.Single())).Length > 0);
        await DeleteAsync("web");

        Assert.Contains("It runs.", page, StringComparison.Ordinal);
        Assert.Equal("n1", running.Placement.Node);
        Assert.Equal(running.Metadata.Generation, running.Status.ObservedGeneration);
        await NothingIsLeftAsync();
    }

    [Theory]
    [InlineData("exit 0", InstanceState.Stopped, 0)]
    [InlineData("exit 3", InstanceState.Failed, 3)]
    public async Task How_the_process_ended_is_in_the_status(string script, InstanceState state, int code)
    {
        await CreateAsync("ends", "sh", "-c", script);
        var ended = await Cluster.InstanceAsync("ends", "ends", instance => instance.Status.Exit is not null);
        await DeleteAsync("ends");

        Assert.Equal(state, ended.Status.State);
        Assert.Equal(code, ended.Status.Exit.Code);
        await NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_missing_image_fails_with_its_name_and_leaves_nothing()
    {
        // Without NEVER a registry would be asked, and there is none in the cluster's network.
        await CreateFromAsync("no-such-image", "lost", ImagePullPolicy.Never);
        var failed = await Cluster.InstanceAsync("lost", "fails", instance => instance.Status.State == InstanceState.Failed);
        await DeleteAsync("lost");

        Assert.Equal("ImageNotFound", failed.Status.Reason);
        Assert.Contains("no-such-image", failed.Status.Message, StringComparison.Ordinal);
        await NothingIsLeftAsync();
    }

    [Fact]
    public async Task A_command_that_the_image_does_not_have_fails_with_its_name_and_leaves_nothing()
    {
        await CreateAsync("typo", "no-such-command");
        var failed = await Cluster.InstanceAsync("typo", "fails", instance => instance.Status.State == InstanceState.Failed);
        await DeleteAsync("typo");

        Assert.Equal("CommandNotFound", failed.Status.Reason);
        Assert.Contains("no-such-command", failed.Status.Message, StringComparison.Ordinal);
        await NothingIsLeftAsync();
    }

    [Fact]
    public async Task Stop_start_restart_pause_and_resume_reach_the_process()
    {
        await CreateAsync("cycle", "sleep", "3600");
        await Cluster.InstanceAsync("cycle", "runs", instance => instance.Status.State == InstanceState.Running);
        var first = Assert.Single(new Leftovers(Cluster).InstanceProcesses());

        await Cluster.Compute.RestartInstanceAsync(new RestartInstanceRequest { Instance = "cycle" });
        await ReachedAsync(InstanceState.Running);
        var second = Assert.Single(new Leftovers(Cluster).InstanceProcesses());
        Assert.NotEqual(first, second);

        await Cluster.Compute.PauseInstanceAsync(new PauseInstanceRequest { Instance = "cycle" });
        await ReachedAsync(InstanceState.Paused);
        await Cluster.Compute.ResumeInstanceAsync(new ResumeInstanceRequest { Instance = "cycle" });
        await ReachedAsync(InstanceState.Running);
        Assert.Equal(second, Assert.Single(new Leftovers(Cluster).InstanceProcesses()));

        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "cycle" });
        await ReachedAsync(InstanceState.Stopped);
        Assert.Empty(new Leftovers(Cluster).InstanceProcesses());
        await Cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "cycle" });

        await Cluster.Compute.StartInstanceAsync(new StartInstanceRequest { Instance = "cycle" });
        await ReachedAsync(InstanceState.Running);
        await Cluster.Compute.StartInstanceAsync(new StartInstanceRequest { Instance = "cycle" });
        await DeleteAsync("cycle");
        await NothingIsLeftAsync();

        Task<Instance> ReachedAsync(InstanceState state) => Cluster.InstanceAsync("cycle", $"becomes {state}", instance =>
            instance.Status.State == state && instance.Status.ObservedGeneration == instance.Metadata.Generation);
    }

    private Task CreateAsync(string name, params string[] command) => CreateFromAsync("busybox", name, ImagePullPolicy.IfNotPresent, command);

    private async Task CreateFromAsync(string image, string name, ImagePullPolicy policy, params string[] command) => await Cluster.Compute.CreateInstanceAsync(new CreateInstanceRequest
    {
        Name = name,
        Spec = new InstanceSpec
        {
            Type = InstanceType.Container,
            Image = image,
            ImagePullPolicy = policy,
            Resources = new Resources { CpuMillicores = 100, MemoryBytes = 32 << 20 },
            Process = new ProcessSpec { Command = { command } },
            Stop = new StopSpec { GracePeriod = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromMilliseconds(200)) },
        },
    }, deadline: LocalCluster.Deadline(10));

    private async Task DeleteAsync(string name)
    {
        await Cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync($"{name} is gone", TimeSpan.FromSeconds(30), async () =>
            (await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5)))
                .Instances.All(instance => instance.Metadata.Name != name));
    }

    private async Task NothingIsLeftAsync() => Assert.Empty(await new Leftovers(Cluster).ListAsync());

    /// <returns>Empty while nobody listens: a process runs before it does.</returns>
    private async Task<string> TryFetchAsync(string address)
    {
        try
        {
            return await FetchAsync(address);
        }
        catch (HttpRequestException)
        {
            return "";
        }
    }

    private async Task<string> FetchAsync(string address)
    {
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (context, _) => new System.Net.Sockets.NetworkStream(
                await Cluster.ConnectAsync(new System.Net.IPEndPoint(System.Net.IPAddress.Parse(context.DnsEndPoint.Host), context.DnsEndPoint.Port)),
                ownsSocket: true),
        });
        return await client.GetStringAsync($"http://{address}/");
    }

    public abstract class Fixture(int? etcdMembers = null) : IAsyncLifetime
    {
        internal LocalCluster Cluster { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Cluster = await LocalCluster.StartAsync(etcdMembers is { } members ? new LocalClusterOptions { EtcdMembers = members } : new LocalClusterOptions());
            await Cluster.ImportBusyboxAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await (Cluster?.DisposeAsync() ?? ValueTask.CompletedTask);
            GC.SuppressFinalize(this);
        }
    }
}

/// <summary><inheritdoc cref="EndToEnd"/> On the embedded store.</summary>
public sealed class EndToEndTests(EndToEndTests.Embedded fixture) : EndToEnd(fixture), IClassFixture<EndToEndTests.Embedded>
{
    public sealed class Embedded() : Fixture(0);
}

/// <summary><inheritdoc cref="EndToEnd"/> On an etcd of three members.</summary>
public sealed class EtcdEndToEndTests(EtcdEndToEndTests.ThreeMembers fixture)
    : EndToEnd(fixture), IClassFixture<EtcdEndToEndTests.ThreeMembers>
{
    public sealed class ThreeMembers() : Fixture(3);
}
