using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>
/// Protects: any server reaches into an instance. This one does not lead, and the instance's node has never spoken to it: all it knows
/// comes from the store that the two share.
/// </summary>
public sealed class OtherServerTests : IAsyncLifetime
{
    private const string Address = "127.0.0.1:50061";

    private LocalCluster _cluster = null!;
    private RealProcess _other = null!;
    private CommandLine _ctl = null!;

    public async ValueTask InitializeAsync()
    {
        _cluster = await LocalCluster.StartAsync(new LocalClusterOptions { EtcdMembers = 1 });
        var file = $"{_cluster.Folder}/other-server.yaml";
        await File.WriteAllTextAsync(file, $"""
            data_dir: {_cluster.Folder}/other-server
            grpc_addr: "{Address}"
            http_addr: "127.0.0.1:8090"
            etcd:
              endpoints: [{string.Join(", ", _cluster.Etcd!.Endpoints)}]
            """);
        _other = _cluster.Inside("other-server", $"{LocalCluster.Binaries}/hypervisor-server", "--config", file);
        _ctl = new CommandLine(_cluster);
        _other.Start();
        await RealTime.UntilAsync("the other server answers", LocalCluster.ReadyTimeout, async () =>
        {
            Assert.True(_other.IsRunning, _other.Log);
            return (await _ctl.TryRunAsync("--server", Address, "cluster", "info")).ExitCode == 0;
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _other.DisposeAsync();
        await _cluster.DisposeAsync();
    }

    [Fact(Timeout = 180_000)]
    public async Task Exec_logs_copies_statistics_and_the_console_go_through_a_server_that_does_not_lead()
    {
        await _cluster.ImportBusyboxAsync();
        await _cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = "box",
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new Resources { CpuMillicores = 100, MemoryBytes = 64 << 20 },
                    Process = new ProcessSpec { Command = { "sh", "-c", "echo begun; exec sleep 1000" } },
                },
            },
            deadline: LocalCluster.Deadline(10));
        await _cluster.InstanceAsync("box", "runs", instance => instance.Status.State == InstanceState.Running);
        var servers = (await _cluster.Nodes.GetClusterInfoAsync(new GetClusterInfoRequest(), deadline: LocalCluster.Deadline(10))).Replicas;
        Assert.False(servers.Single(server => server.GrpcAddress.EndsWith(":50061", StringComparison.Ordinal)).Leader);

        var (exitCode, output, error) = await TryCtlAsync("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 42");
        Assert.Equal((42, "out\n", "err\n"), (exitCode, output, error));

        Assert.Equal("begun\n", await CtlAsync("logs", "box"));

        var file = $"{_cluster.Folder}/file";
        await File.WriteAllTextAsync(file, "there and back\n", TestContext.Current.CancellationToken);
        await CtlAsync("cp", file, "box:/tmp/file");
        Assert.Equal("there and back\n", await CtlAsync("exec", "box", "--", "cat", "/tmp/file"));
        await CtlAsync("cp", "box:/tmp/file", $"{file}.back");
        Assert.Equal("there and back\n", await File.ReadAllTextAsync($"{file}.back", TestContext.Current.CancellationToken));

        Assert.Matches(@"(?m)^box +[\d.]+ +[\d.]+s ", await CtlAsync("stats", "box"));

        await _cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = "talks",
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new Resources { CpuMillicores = 100, MemoryBytes = 64 << 20 },
                    Process = new ProcessSpec { Command = { "sh", "-c", "while read -r line; do echo \"got $line\"; done" }, Stdin = true },
                },
            },
            deadline: LocalCluster.Deadline(10));
        await _cluster.InstanceAsync("talks", "runs", instance => instance.Status.State == InstanceState.Running);
        await using var console = _ctl.Start("--server", Address, "instance", "console", "talks");
        console.Type("hello\n");
        await console.UntilAsync("got hello");
    }

    private Task<string> CtlAsync(params string[] words) => _ctl.RunAsync(["--server", Address, "instance", .. words]);

    private Task<(int ExitCode, string Output, string Error)> TryCtlAsync(params string[] words) =>
        _ctl.TryRunAsync(["--server", Address, "instance", .. words]);
}
