using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Protects the first minutes: <c>make run</c> ends with a container, a microVM and a VM of one image that answer HTTP, and <c>make stop</c> leaves
/// the machine as it was, whatever happened in between.
/// </summary>
[Collection(WholeMachine.Name)]
public sealed class MakeRunTests : IAsyncLifetime
{
    private const string Nobody = "65534";

    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    private readonly string _id = $"hvr-{Environment.ProcessId:x}";
    private readonly string _folder = Directory.CreateTempSubdirectory("run-").FullName;
    private PrivateMachine _machine = null!;

    private Dictionary<string, string> Variables => new()
    {
        ["RUN_DIR"] = $"{_folder}/run",
        ["VOLATILE_DIR"] = $"/run/{_id}",
        ["CGROUP_PARENT"] = $"/{_id}",
    };

    public async ValueTask InitializeAsync()
    {
        // What a libvirtd that another test killed could not remove is also what `make stop` removes: it is not to be there before.
        await Shell.TryRunAsync("bash", ["-c", "find /sys/fs/cgroup -depth -type d -path '*/machine/qemu-*zixiao-*' -exec rmdir {} + 2> /dev/null"]);
        _machine = await PrivateMachine.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await MakeAsync("stop");
        await _machine.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("embedded", "sqlite")]
    [InlineData("etcd", "etcd")]
    public async Task Run_twice_then_stop_leaves_the_machine_as_it_was(string store, string kind)
    {
        var before = await _machine.SnapshotAsync();

        var (exitCode, output) = await MakeAsync("run", $"STORE={store}");
        Assert.True(exitCode == 0, output);
        Assert.Contains("It runs.", output, StringComparison.Ordinal);
        Assert.Matches(@"(?mi)^hello +\S*container +running +\S+ +[\d.]+ +containerd", output);
        Assert.Matches(@"(?mi)^hello-microvm +\S*microvm +running +\S+ +[\d.]+ +(qemu|firecracker)/(tcg|kvm)", output);
        Assert.Matches(@"(?mi)^hello-vm +\S*vm +running +\S+ +[\d.]+ +libvirt/(tcg|kvm)", output);
        await AssertSuggestionsWorkAsync(output);

        var started = RealTime.Clock.GetTimestamp();
        (exitCode, output) = await MakeAsync("run", $"STORE={store}");
        Assert.True(exitCode == 0, output);
        Assert.InRange(RealTime.Clock.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromMinutes(1));

        var info = await _machine.RunAsync($"{LocalCluster.Binaries}/hypervisor-ctl", "cluster", "info", "-o", "json");
        Assert.Contains($"\"{kind}\"", info, StringComparison.Ordinal);
        var list = await _machine.RunAsync($"{LocalCluster.Binaries}/hypervisor-ctl", "instance", "list", "-o", "json");
        Assert.Contains("\"INSTANCE_STATE_RUNNING\"", list, StringComparison.Ordinal);

        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    /// <summary>Only what differs from a containerd of its own: the host's goes on, and holds nothing of ours in the end.</summary>
    [Fact]
    public async Task A_containerd_of_the_hosts_own_is_used_and_given_back_as_it_was()
    {
        var socket = await StartContainerdAsync();
        string[] ctr = ["--address", socket];
        var before = await _machine.SnapshotAsync();

        var (exitCode, output) = await MakeAsync("run", $"CONTAINERD_ADDRESS={socket}");
        Assert.True(exitCode == 0, output);
        Assert.Contains("RUNNING", output, StringComparison.OrdinalIgnoreCase);
        Assert.False(File.Exists($"{_folder}/run/containerd.pid"), "there is a second containerd");
        Assert.Single((await _machine.RunAsync("ctr", [.. ctr, "--namespace", "hypervisor", "tasks", "list", "-q"])).Split('\n', StringSplitOptions.RemoveEmptyEntries));

        // Without the variable: it was noted.
        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal("", await _machine.RunAsync("ctr", [.. ctr, "namespaces", "list", "-q"]));
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    [Fact]
    public async Task Stop_cleans_up_after_everything_was_killed()
    {
        var before = await _machine.SnapshotAsync();
        var (exitCode, output) = await MakeAsync(SomebodysSudo, "run", "STORE=etcd");
        Assert.True(exitCode == 0, output);

        // What the user behind sudo looks at is theirs at once, and after the end all that is left.
        Assert.Equal("", await ForeignFilesAsync(depth: 1));
        await _machine.KillEverythingAsync();

        (exitCode, output) = await MakeAsync(SomebodysSudo, "stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await _machine.SnapshotAsync());
        Assert.Equal("", await ForeignFilesAsync(depth: 99));
    }

    [Theory]
    [InlineData(50051, "server", "SERVER_PORT", "embedded")]
    [InlineData(8080, "server", "HTTP_PORT", "embedded")]
    [InlineData(50052, "agent", "AGENT_PORT", "embedded")]
    [InlineData(8081, "first container", "HELLO_PORT", "embedded")]
    [InlineData(2379, "etcd", "ETCD_PORT", "etcd")]
    [InlineData(2380, "etcd", "ETCD_PEER_PORT", "etcd")]
    public async Task A_busy_port_is_named_with_its_owner_and_nothing_is_started(int port, string user, string remedy, string store)
    {
        await _machine.RunAsync("bash", "-c", $"setsid busybox httpd -f -p 127.0.0.1:{port} > /dev/null 2>&1 &");
        await RealTime.UntilAsync(
            "the port is taken", TimeSpan.FromSeconds(10), async () => (await _machine.RunAsync("ss", "-Hltn")).Contains($":{port} "));
        var before = await _machine.SnapshotAsync();

        var (exitCode, output) = await MakeAsync("run", $"STORE={store}");

        Assert.NotEqual(0, exitCode);
        Assert.Matches($@"{port}, which the {user} needs, is in use by busybox \(pid \d+\)", output);
        Assert.Contains(remedy, output, StringComparison.Ordinal);
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    /// <summary>The first commands that a new user copies: also on a machine of two CPUs, beside what runs there already.</summary>
    private async Task AssertSuggestionsWorkAsync(string output)
    {
        const string Program = "bin/hypervisor-ctl";
        var commands = output.Split('\n', StringSplitOptions.TrimEntries)
            .Where(line => line.StartsWith(Program, StringComparison.Ordinal) && !line.EndsWith("--watch", StringComparison.Ordinal))
            .ToList();
        Assert.Contains(commands, command => command.Contains("instance create", StringComparison.Ordinal));
        foreach (var command in commands)
        {
            var (exitCode, answer) = await _machine.TryRunAsync("bash", ["-c", $"{LocalCluster.Binaries}/{command["bin/".Length..]}"], Timeout);
            Assert.True(exitCode == 0, $"{command}: {answer}");
        }
    }

    /// <returns>The socket that it answers on.</returns>
    private async Task<string> StartContainerdAsync()
    {
        var socket = $"{_folder}/containerd.sock";
        await File.WriteAllTextAsync($"{_folder}/containerd.toml", $"""
            version = 2
            root = "{_folder}/containerd/root"
            state = "{_folder}/containerd/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri"]
            [grpc]
              address = "{socket}"
            [plugins."io.containerd.internal.v1.opt"]
              path = "{_folder}/containerd/opt"
            """);
        await _machine.RunAsync("bash", "-c", $"setsid containerd --config {_folder}/containerd.toml > {_folder}/containerd.log 2>&1 &");
        await RealTime.UntilAsync("containerd answers", TimeSpan.FromSeconds(30), async () =>
            (await _machine.TryRunAsync("ctr", ["--address", socket, "version"])).ExitCode == 0);
        return socket;
    }

    private static Dictionary<string, string> SomebodysSudo => new() { ["SUDO_UID"] = Nobody, ["SUDO_GID"] = Nobody };

    private Task<string> ForeignFilesAsync(int depth) => _machine.RunAsync(
        "bash", "-c", $"cd {_folder}/run && for folder in . log cache; do [ ! -d $folder ] || find $folder -maxdepth {depth} -type f ! -uid {Nobody}; done");

    private Task<(int ExitCode, string Output)> MakeAsync(params string[] words) => MakeAsync([], words);

    private Task<(int ExitCode, string Output)> MakeAsync(Dictionary<string, string> variables, params string[] words) => _machine.TryRunAsync(
        "make", ["--no-print-directory", "-C", LocalCluster.Repository, .. words], Timeout, new Dictionary<string, string>(Variables.Concat(variables)));
}
