using System.Text;
using Google.Protobuf;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Streams;
using Hypervisor.ClusterTests.Containerd;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>Protects: processes beside the main one: their streams, exit, terminal, restrictions, and that none outlives its client.</summary>
public sealed class ExecTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Theory]
    [InlineData("exit 0", 0)]
    [InlineData("exit 7", 7)]
    [InlineData("kill -9 $$", 137)]
    [InlineData("kill -TERM $$", 143)]
    public async Task The_exit_is_that_of_the_process(string script, int code)
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        Assert.Equal(code, (await RunAsync(definition, Shell(script))).Exit.Code);
    }

    [Fact]
    public async Task Output_and_errors_are_kept_apart_and_input_is_read_to_its_end()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var request = Shell("echo to-err >&2; cat; echo done");
        request.AttachStdin = true;
        var result = await RunAsync(definition, request, "line one\nline two\n");
        Assert.Equal(("line one\nline two\ndone\n", "to-err\n", 0), (result.Output, result.Errors, result.Exit.Code));
    }

    [Fact]
    public async Task Without_input_the_process_reads_the_end()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        Assert.Equal(("end\n", 0), (await RunAsync(definition, Shell("cat; echo end"))) is var r ? (r.Output, r.Exit.Code) : default);
    }

    [Fact]
    public async Task Megabytes_arrive_whole()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var result = await RunAsync(definition, Shell("dd if=/dev/zero bs=65536 count=160 2>/dev/null"));
        Assert.Equal((10_485_760, 0), (result.Output.Length, result.Exit.Code));
    }

    [Fact]
    public async Task A_process_in_the_background_does_not_hold_the_stream_for_ever()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var result = await RunAsync(definition, Shell("sleep 1000 & echo started"));
        Assert.Equal(("started\n", 0), (result.Output, result.Exit.Code));
    }

    [Fact]
    public async Task It_runs_as_the_main_process_does_and_as_asked()
    {
        var definition = host.Define();
        definition.Assignment.Spec.Process.User = "app";
        await host.StartAsync(definition);
        var same = await RunAsync(definition, Shell("id -u; echo $FROM_IMAGE; cat /proc/self/cwd/marker; grep -e CapEff -e Seccomp: -e NoNewPrivs /proc/self/status"));
        var main = ProcessStatus((await host.Driver.GetAsync(definition.Id, Cancel))!.ProcessId!.Value);
        Assert.Equal($"1000\n1\nhereCapEff:\t{main["CapEff"]}\nNoNewPrivs:\t1\nSeccomp:\t2\n", same.Output);
        var asked = Shell("id -u; id -g; echo $EXTRA; echo $PWD");
        (asked.User, asked.WorkingDir) = ("0:2000", "/tmp");
        asked.Env.Add(new EnvVar { Name = "EXTRA", Value = "a b=c" });
        Assert.Equal("0\n2000\na b=c\n/tmp\n", (await RunAsync(definition, asked)).Output);
    }

    [Fact]
    public async Task A_terminal_has_the_size_it_is_given_and_learns_of_changes()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        // busybox here has no stty: the kernel's own record of the terminal is asked by its window-change signal and by `test -t`.
        var request = Shell("trap 'echo resized; exit 5' WINCH; test -t 0 && test -t 1 && echo terminal; while :; do sleep 1000 & wait $!; done");
        (request.Terminal, request.AttachStdin, request.Resize) = (true, true, new TerminalSize { Columns = 80, Rows = 24 });
        await using var process = await host.Access.ExecAsync(definition.Id, First, request, Cancel);
        Assert.Contains("terminal", await ReadUntilAsync(process, "terminal\r\n"), StringComparison.Ordinal);
        await process.ResizeAsync(new TerminalSize { Columns = 100, Rows = 50 }, Cancel);
        Assert.Contains("resized", await ReadUntilAsync(process, "resized\r\n"), StringComparison.Ordinal);
        Assert.Equal(5, (await process.ExitAsync(Cancel)).Code);
    }

    [Fact]
    public async Task A_signal_reaches_the_process()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        await using var process = await host.Access.ExecAsync(
            definition.Id, First, Shell("trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 1000 & wait $!; done"), Cancel);
        await ReadUntilAsync(process, "ready\n");
        await process.SignalAsync(10, Cancel);
        Assert.Equal(3, (await process.ExitAsync(Cancel)).Code);
    }

    [Fact]
    public async Task Letting_go_kills_the_process_and_its_children_and_leaves_nothing()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var process = await host.Access.ExecAsync(definition.Id, First, Shell("sleep 4242 & sleep 4243 & echo ready; wait"), Cancel);
        await ReadUntilAsync(process, "ready\n");
        await process.DisposeAsync();
        await ContainerdHost.UntilAsync(
            () => Task.FromResult(!host.Cgroups.Processes(definition.Id.Value).Any(pid => CommandLine(pid).Contains("424", StringComparison.Ordinal))),
            "the processes of the exec are gone");
        Assert.Single(host.Cgroups.Processes(definition.Id.Value));
        Assert.False(Directory.Exists(host.Run + "/driver/exec/" + definition.Id.Value));
    }

    [Fact]
    public async Task An_agent_that_was_killed_leaves_no_process_behind()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var orphan = await host.Access.ExecAsync(definition.Id, First, Shell("echo ready; exec sleep 4244"), Cancel);
        await ReadUntilAsync(orphan, "ready\n");
        host.ForgetEverything();
        await host.Driver.ListAsync(Cancel);
        Assert.DoesNotContain(host.Cgroups.Processes(definition.Id.Value), pid => CommandLine(pid).Contains("4244", StringComparison.Ordinal));
        Assert.False(Directory.Exists(host.Run + "/driver/exec/" + definition.Id.Value));
    }

    [Fact]
    public async Task Stopping_the_instance_ends_the_process()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        await using var process = await host.Access.ExecAsync(definition.Id, First, Shell("echo ready; exec sleep 1000"), Cancel);
        await ReadUntilAsync(process, "ready\n");
        var exit = process.ExitAsync(Cancel);
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(9, TimeSpan.Zero), Cancel);
        Assert.Equal(137, (await exit.WaitAsync(ContainerdHost.Patience, Cancel)).Code);
    }

    [Theory]
    [InlineData("CommandNotFound", "/bin/nope", "", "")]
    [InlineData("CommandNotExecutable", "/work/not-executable", "", "")]
    [InlineData("UserNotFound", "/bin/id", "nobody-here", "")]
    [InlineData("WorkingDirectoryInvalid", "/bin/id", "", "/proc/self/fd/7")]
    public async Task What_cannot_run_is_named(string reason, string command, string user, string directory)
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        var request = new ExecInput { Command = { command }, User = user, WorkingDir = directory };
        Assert.Equal(reason, (await Assert.ThrowsAsync<DriverException>(() => host.Access.ExecAsync(definition.Id, First, request, Cancel))).Reason);
    }

    [Fact]
    public async Task A_paused_instance_is_named_as_such()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        await host.Driver.PauseAsync(definition.Id, First, Cancel);
        Assert.Equal("Paused", (await Assert.ThrowsAsync<DriverException>(() => host.Access.ExecAsync(definition.Id, First, Shell("true"), Cancel))).Reason);
        await host.Driver.ResumeAsync(definition.Id, First, Cancel);
        Assert.Equal(0, (await RunAsync(definition, Shell("true"))).Exit.Code);
    }

    [Fact]
    public async Task Another_epoch_and_an_instance_that_does_not_run_are_refused()
    {
        var definition = host.Define();
        await host.Driver.CreateAsync(definition, Cancel);
        var stopped = await Assert.ThrowsAsync<DriverException>(() => host.Access.ExecAsync(definition.Id, First, Shell("true"), Cancel));
        Assert.Equal("NotRunning", stopped.Reason);
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        foreach (var epoch in new[] { First.Value - 1, First.Value + 1 })
        {
            var other = await Assert.ThrowsAsync<DriverException>(() => host.Access.ExecAsync(definition.Id, new(epoch), Shell("true"), Cancel));
            Assert.Equal("EpochMismatch", other.Reason);
        }
    }

    private static ExecInput Shell(string script) => new() { Command = { "/bin/sh", "-c", script } };

    private static string CommandLine(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static async Task<string> ReadUntilAsync(IInstanceProcess process, string end)
    {
        var text = "";
        var buffer = new byte[4096];
        while (!text.EndsWith(end, StringComparison.Ordinal))
        {
            var read = await process.ReadAsync(LogStream.Stdout, buffer, Cancel).AsTask().WaitAsync(ContainerdHost.Patience, Cancel);
            Assert.True(read > 0, $"ended after: {text}");
            text += Encoding.UTF8.GetString(buffer, 0, read);
        }

        return text;
    }

    private async Task<(string Output, string Errors, ExitStatus Exit)> RunAsync(InstanceDefinition definition, ExecInput request, string input = "")
    {
        await using var process = await host.Access.ExecAsync(definition.Id, First, request, Cancel);
        var (output, errors) = (new StringBuilder(), new StringBuilder());
        var pump = new ProcessPump(process, RealTime.Clock, (stream, data, _) =>
        {
            (stream == LogStream.Stderr ? errors : output).Append(Encoding.Latin1.GetString(data.Span));
            return Task.CompletedTask;
        });
        var exit = await pump.RunAsync(
            async token =>
            {
                await process.WriteAsync(ByteString.CopyFromUtf8(input).Memory, token);
                await process.CloseInputAsync(token);
            },
            Cancel).WaitAsync(ContainerdHost.Patience, Cancel);
        return (output.ToString(), errors.ToString(), exit);
    }
}
