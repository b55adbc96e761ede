using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Logs;
using Hypervisor.ClusterTests.Containerd;
using Hypervisor.Protocol.V1;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>Protects: what a container writes is in its log, whether or not an agent runs, until the instance is removed.</summary>
public sealed class LogTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task Output_and_errors_of_a_run_that_has_ended_can_be_read()
    {
        var definition = host.DefineShell("echo out; echo err >&2; printf unfinished");
        await host.RunToEndAsync(definition);
        var lines = await ReadAsync(definition);
        Assert.Equal(["out", "unfinished"], Texts(lines, LogStream.Stdout));
        Assert.Equal(["err"], Texts(lines, LogStream.Stderr));
    }

    [Fact]
    public async Task Nothing_is_lost_and_nothing_waits_while_no_agent_runs()
    {
        // 60,000 bytes: as much as a pipe takes would not show whether the process had to wait.
        var definition = host.DefineShell("i=0; while test $i -lt 6000; do echo \"line $i\"; i=$((i+1)); done; touch /tmp/written; exec sleep 1000");
        definition.Assignment.Spec.Logs = new LogSpec { MaxSizeBytes = 1 << 20, MaxFiles = 10 };
        await host.StartAsync(definition);
        host.ForgetEverything();
        await ContainerdHost.UntilAsync(
            async () =>
            {
                using var root = await ((ContainerdAccess)host.Access).OpenRootAsync(definition.Id, First, Cancel);
                return root.Find("/tmp/written") is not null;
            },
            "the process has written everything");
        Assert.Equal(Enumerable.Range(0, 6000).Select(number => $"line {number}"), Texts(await ReadAsync(definition), LogStream.Stdout));
    }

    [Fact]
    public async Task A_follower_sees_each_line_once_across_rotation_and_a_restart_of_the_instance()
    {
        var definition = host.DefineShell("i=0; while test $i -lt 3000; do echo \"$i 0123456789012345678901234567890123456789\"; i=$((i+1)); done; exec sleep 1000");
        definition.Assignment.Spec.Logs = new LogSpec { MaxSizeBytes = 64 * 1024, MaxFiles = 50 };
        await host.StartAsync(definition);
        var seen = new List<string>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var following = FollowAsync(6000);
        await ContainerdHost.UntilAsync(() => Task.FromResult(seen.Count >= 3000), "the first run's lines");
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(9, TimeSpan.Zero), Cancel);
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        await following.WaitAsync(ContainerdHost.Patience, Cancel);
        var run = Enumerable.Range(0, 3000).Select(number => $"{number} 0123456789012345678901234567890123456789").ToList();
        Assert.Equal([.. run, .. run], seen);
        Assert.True(host.Access.LogOf(definition.Id).Folder.List().Count > 3);

        async Task FollowAsync(int count)
        {
            await foreach (var answer in new LogReader(host.Access.LogOf(definition.Id), new StreamLogsRequest { Follow = true }, 0).ReadAsync(stop.Token))
            {
                seen.AddRange(answer.Lines.Lines.Select(line => line.Text.ToStringUtf8()));
                if (seen.Count >= count)
                {
                    return;
                }
            }
        }
    }

    [Fact]
    public async Task A_process_with_a_terminal_is_logged_too()
    {
        var definition = host.DefineShell("test -t 1 && echo terminal");
        definition.Assignment.Spec.Process.Terminal = true;
        await host.RunToEndAsync(definition);
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        await host.EndAsync(definition);
        Assert.Equal(["terminal\r", "terminal\r"], Texts(await ReadAsync(definition), LogStream.Stdout));
    }

    [Fact]
    public async Task Removal_leaves_no_log()
    {
        var definition = host.DefineShell("echo x; exec sleep 1000");
        await host.StartAsync(definition);
        await host.Driver.RemoveAsync(definition.Id, First, Cancel);
        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries(host.Options.LogDirectory, "*", SearchOption.AllDirectories),
            path => path.Contains(definition.Id.Value, StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_attached_client_sees_the_last_of_before_and_what_comes_and_writes_to_standard_input()
    {
        var definition = host.DefineShell("echo before; while read line; do echo \"got $line\"; done; echo end; exec sleep 1000");
        definition.Assignment.Spec.Process.Stdin = true;
        await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(async () => (await ReadAsync(definition)).Count == 1, "the first line");
        await using (var console = await host.Access.AttachAsync(definition.Id, First, Cancel))
        {
            Assert.Equal("before\n", await ReadOnceAsync(console));
            await console.WriteAsync("one\n"u8.ToArray(), Cancel);
            Assert.Equal("got one\n", await ReadOnceAsync(console));
        }

        // Letting go, and the agent's end, are no end of input.
        host.ForgetEverything();
        await using var again = await host.Access.AttachAsync(definition.Id, First, Cancel);
        Assert.Equal("before\ngot one\n", await ReadOnceAsync(again));
        await again.WriteAsync("two\n"u8.ToArray(), Cancel);
        Assert.Equal("got two\n", await ReadOnceAsync(again));
        await again.CloseInputAsync(Cancel);
        Assert.Equal("end\n", await ReadOnceAsync(again));
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(9, TimeSpan.Zero), Cancel);
        Assert.Equal("", await ReadOnceAsync(again));
    }

    [Fact]
    public async Task Standard_input_is_refused_where_there_is_none()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        await using var console = await host.Access.AttachAsync(definition.Id, First, Cancel);
        Assert.Equal("NoStdin", (await Assert.ThrowsAsync<DriverException>(async () => await console.WriteAsync("x"u8.ToArray(), Cancel))).Reason);
    }

    private static string[] Texts(IEnumerable<LogLine> lines, LogStream stream) =>
        [.. lines.Where(line => line.Stream == stream).Select(line => line.Text.ToStringUtf8())];

    private static async Task<string> ReadOnceAsync(IInstanceProcess process)
    {
        var buffer = new byte[1024];
        var read = await process.ReadAsync(LogStream.Stdout, buffer, Cancel).AsTask().WaitAsync(ContainerdHost.Patience, Cancel);
        return System.Text.Encoding.UTF8.GetString(buffer, 0, read);
    }

    private async Task<List<LogLine>> ReadAsync(InstanceDefinition definition)
    {
        var lines = new List<LogLine>();
        await foreach (var answer in new LogReader(host.Access.LogOf(definition.Id), new StreamLogsRequest(), 0).ReadAsync(Cancel))
        {
            lines.AddRange(answer.Lines.Lines);
        }

        return lines;
    }
}
