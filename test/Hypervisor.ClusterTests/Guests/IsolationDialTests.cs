using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects the isolation dial: one image behaves the same as a container, as a microVM and as a VM. What each showed is a table, which
/// README has as it came out here.
/// </summary>
[Collection(WholeMachine.Name)]
public sealed class IsolationDialTests
{
    // What a program can tell of where it runs; then it serves, and says itself how it ends when it is asked to.
    private const string Script = """
        echo "$GREETING from $(id -u):$(id -g) in $(pwd) on $(hostname)"
        echo "complaint" >&2
        trap 'exit 7' TERM
        httpd -p 8080 -h /var/www
        sleep 3600 & wait
        """;

    private static readonly InstanceType[] Types = [InstanceType.Container, InstanceType.Microvm, InstanceType.Vm];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_image_behaves_the_same_in_every_type()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { Libvirt = true });
        await cluster.ImportBusyboxAsync();
        await RealTime.UntilAsync("the node runs every type", TimeSpan.FromSeconds(60), async () =>
            (await cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
                .Nodes.Single().Status.Inventory.Runtimes is var runtimes
            && Types.All(type => runtimes.Any(runtime => runtime.Type == type && runtime.Available)));

        var columns = new List<IReadOnlyList<(string Row, string Value)>>();
        foreach (var type in Types)
        {
            columns.Add(await ObserveAsync(cluster, type));
        }

        Assert.All(columns, column => Assert.Equal(columns[0], column));
        var table = Table(columns);
        var readme = await File.ReadAllTextAsync($"{LocalCluster.Repository}/README.md", Cancel);
        Assert.True(readme.Contains(table, StringComparison.Ordinal), $"README's table of the isolation dial is another; this one was observed:\n{table}");
    }

    private static async Task<IReadOnlyList<(string Row, string Value)>> ObserveAsync(LocalCluster cluster, InstanceType type)
    {
        var name = "dial";
        await cluster.CreateAsync(new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = type,
                Image = "busybox",
                Resources = new Resources { CpuMillicores = 1000, MemoryBytes = 128 << 20 },
                Process = new ProcessSpec
                {
                    Command = { "sh", "-c", Script },
                    Env = { new EnvVar { Name = "GREETING", Value = "hello" } },
                    User = "1000:1001",
                    WorkingDir = "/var/www",
                },
                Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = 9100, InstancePort = 8080 } } },
                Stop = new StopSpec { GracePeriod = Duration.FromTimeSpan(TimeSpan.FromSeconds(20)) },
            },
        });
        await cluster.RunningAsync(name, seconds: 90);
        await RealTime.UntilAsync("its published port answers", TimeSpan.FromSeconds(30), async () =>
            await Web.AnswersAsync(cluster.NetworkNamespace, "127.0.0.1", 9100));

        var (code, output) = await ExecAsync(cluster, name, "sh", "-c", "id -u; exit 5");
        // More than it has: the kernel ends whoever took it, and the instance stays.
        var (killed, _) = await ExecAsync(cluster, name, "sh", "-c", "head -c 400m /dev/zero | tail > /dev/null");
        var after = await cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        Assert.True(after.Status.Exit is null, $"As a {NameOf(type)} it ended as well: {after.Status}");
        var stats = await cluster.Compute.GetInstanceStatsAsync(new GetInstanceStatsRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        var stopped = await cluster.InstanceAsync(name, "stops", instance => instance.Status.Exit is not null, seconds: 40);
        var logs = await LogsAsync(cluster, name);
        await cluster.DeleteAsync(name);

        return
        [
            ("standard output", logs[LogStream.Stdout]),
            ("standard error", logs[LogStream.Stderr]),
            ("`exec` as the same user, exit code", $"{output.Trim()}, {code}"),
            ("`--publish 9100:8080`", "answers"),
            ("400 MB in 128 MB of memory", $"exit code {killed}; the instance goes on"),
            ("`stats`: memory in use, its limit", $"{(stats.MemoryBytes is > 0 and < 128 << 20 ? "known" : stats)}, {stats.MemoryLimitBytes >> 20} MiB"),
            ("SIGTERM, trapped: exit code", $"{stopped.Status.Exit.Code}"),
        ];
    }

    private static string Table(List<IReadOnlyList<(string Row, string Value)>> columns)
    {
        var lines = new List<string>
        {
            "| | " + string.Join(" | ", Types.Select(type => $"`--type {NameOf(type)}`")) + " |",
            "|---" + string.Concat(Types.Select(_ => "|---")) + "|",
        };
        lines.AddRange(columns[0].Select((row, index) => $"| {row.Row} | " + string.Join(" | ", columns.Select(column => column[index].Value)) + " |"));
        return string.Join('\n', lines) + "\n";
    }

    private static string NameOf(InstanceType type) => type switch
    {
        InstanceType.Container => "container",
        InstanceType.Microvm => "microvm",
        _ => "vm",
    };

    private static async Task<(int Code, string Output)> ExecAsync(LocalCluster cluster, string name, params string[] command)
    {
        using var call = cluster.Compute.Exec(deadline: LocalCluster.Deadline(240));
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

    private static async Task<Dictionary<LogStream, string>> LogsAsync(LocalCluster cluster, string name)
    {
        var lines = new List<LogLine>();
        using var call = cluster.Compute.StreamLogs(new StreamLogsRequest { Instance = name }, deadline: LocalCluster.Deadline(20));
        await foreach (var part in call.ResponseStream.ReadAllAsync(Cancel))
        {
            lines.AddRange(part.Lines);
        }

        return lines.GroupBy(line => line.Stream).ToDictionary(stream => stream.Key, stream => string.Join(" / ", stream.Select(line => line.Text.ToStringUtf8())));
    }
}
