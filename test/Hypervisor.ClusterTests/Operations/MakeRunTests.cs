using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Protects the first minutes: <c>make run</c> ends with a container that answers HTTP, and <c>make stop</c> leaves the machine
/// as it was, whatever happened in between.
/// </summary>
public sealed class MakeRunTests : IAsyncLifetime
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    private readonly string _id = $"hvr-{Environment.ProcessId:x}";
    private readonly string _folder = Directory.CreateTempSubdirectory("run-").FullName;

    private string[] Enter => [$"--net=/run/netns/{_id}"];

    private Dictionary<string, string> Variables => new() { ["RUN_DIR"] = $"{_folder}/run", ["VOLATILE_DIR"] = $"/run/{_id}", ["CGROUP_PARENT"] = $"/{_id}" };

    public async ValueTask InitializeAsync()
    {
        await Shell.RunAsync("ip", "netns", "add", _id);
        await Shell.RunAsync("ip", "-n", _id, "link", "set", "lo", "up");
    }

    public async ValueTask DisposeAsync()
    {
        await MakeAsync("stop");
        await Shell.RunAsync("ip", "netns", "delete", _id);
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Run_twice_then_stop_leaves_the_machine_as_it_was()
    {
        var before = await Machine.SnapshotAsync(Enter);

        var (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);
        Assert.Contains("It runs.", output, StringComparison.Ordinal);
        Assert.Contains("hello", output, StringComparison.Ordinal);
        Assert.Contains("RUNNING", output, StringComparison.OrdinalIgnoreCase);

        (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);

        var list = await Shell.RunAsync("nsenter", [.. Enter, "--", $"{LocalCluster.Binaries}/hypervisor-ctl", "instance", "list", "-o", "json"]);
        Assert.Contains("\"INSTANCE_STATE_RUNNING\"", list, StringComparison.Ordinal);

        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await Machine.SnapshotAsync(Enter));
    }

    [Fact]
    public async Task Stop_cleans_up_after_everything_was_killed()
    {
        var before = await Machine.SnapshotAsync(Enter);
        var (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);

        foreach (var pid in await StartedProcessesAsync())
        {
            Linux.Signal(pid, Linux.SignalKill);
        }

        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await Machine.SnapshotAsync(Enter));
    }

    [Fact]
    public async Task A_busy_port_is_named_with_its_owner_and_nothing_is_started()
    {
        using var listener = await Linux.OnOwnThreadAsync($"/run/netns/{_id}", () =>
        {
            var socket = new System.Net.Sockets.Socket(System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp);
            socket.Bind(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 50051));
            socket.Listen();
            return socket;
        });

        var (exitCode, output) = await MakeAsync("run");

        Assert.NotEqual(0, exitCode);
        Assert.Contains("50051", output, StringComparison.Ordinal);
        Assert.Contains($"pid {Environment.ProcessId}", output, StringComparison.Ordinal);
        Assert.Contains("SERVER_PORT", output, StringComparison.Ordinal);
        Assert.Empty(await StartedProcessesAsync());
    }

    // What runs in our namespace and what hangs on our containerd's socket.
    private async Task<IReadOnlyList<int>> StartedProcessesAsync()
    {
        var pids = await Shell.RunAsync("ip", "netns", "pids", _id);
        return [.. pids.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse).Where(pid => pid != Environment.ProcessId)
            .Concat(Directory.GetDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!))
                .Where(pid => BelongsToUs(pid))).Distinct()];
    }

    private bool BelongsToUs(int pid)
    {
        try
        {
            return pid != Environment.ProcessId && File.ReadAllText($"/proc/{pid}/cmdline").Contains($"/run/{_id}", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    private async Task<(int ExitCode, string Output)> MakeAsync(string verb)
    {
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "nsenter", [.. Enter, "--", "make", "--no-print-directory", "-C", LocalCluster.Repository, verb], Timeout, Variables);
        return (exitCode, output + error);
    }
}
