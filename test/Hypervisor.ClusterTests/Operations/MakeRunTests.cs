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
    private PrivateMachine _machine = null!;

    private Dictionary<string, string> Variables => new()
    {
        ["RUN_DIR"] = $"{_folder}/run",
        ["VOLATILE_DIR"] = $"/run/{_id}",
        ["CGROUP_PARENT"] = $"/{_id}",
    };

    public async ValueTask InitializeAsync() => _machine = await PrivateMachine.StartAsync();

    public async ValueTask DisposeAsync()
    {
        await MakeAsync("stop");
        await _machine.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Run_twice_then_stop_leaves_the_machine_as_it_was()
    {
        var before = await _machine.SnapshotAsync();

        var (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);
        Assert.Contains("It runs.", output, StringComparison.Ordinal);
        Assert.Contains("hello", output, StringComparison.Ordinal);
        Assert.Contains("RUNNING", output, StringComparison.OrdinalIgnoreCase);

        var started = RealTime.Clock.GetTimestamp();
        (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);
        Assert.InRange(RealTime.Clock.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromMinutes(1));

        var list = await _machine.RunAsync($"{LocalCluster.Binaries}/hypervisor-ctl", "instance", "list", "-o", "json");
        Assert.Contains("\"INSTANCE_STATE_RUNNING\"", list, StringComparison.Ordinal);

        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    [Fact]
    public async Task Stop_cleans_up_after_everything_was_killed()
    {
        var before = await _machine.SnapshotAsync();
        var (exitCode, output) = await MakeAsync("run");
        Assert.True(exitCode == 0, output);

        await _machine.KillEverythingAsync();

        (exitCode, output) = await MakeAsync("stop");
        Assert.True(exitCode == 0, output);
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    [Fact]
    public async Task A_busy_port_is_named_with_its_owner_and_nothing_is_started()
    {
        await _machine.RunAsync("bash", "-c", "setsid busybox httpd -f -p 127.0.0.1:50051 > /dev/null 2>&1 &");
        await RealTime.UntilAsync(
            "the port is taken", TimeSpan.FromSeconds(10), async () => (await _machine.RunAsync("ss", "-Hltn")).Contains(":50051"));
        var before = await _machine.SnapshotAsync();

        var (exitCode, output) = await MakeAsync("run");

        Assert.NotEqual(0, exitCode);
        Assert.Matches(@"50051, which the server needs, is in use by busybox \(pid \d+\)", output);
        Assert.Contains("SERVER_PORT", output, StringComparison.Ordinal);
        Assert.Equal(before, await _machine.SnapshotAsync());
    }

    private Task<(int ExitCode, string Output)> MakeAsync(string verb) =>
        _machine.TryRunAsync("make", ["--no-print-directory", "-C", LocalCluster.Repository, verb], Timeout, Variables);
}
