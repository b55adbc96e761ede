using System.Diagnostics;
using System.Text.RegularExpressions;
using Grpc.Core;
using Grpc.Net.Client;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Streams;

/// <summary>Protects: the shipped command line reaches into an instance through server and agent, with pipes and with a terminal.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed partial class EndToEndTests(StreamsCluster streams) : IClassFixture<StreamsCluster>
{
    private readonly LocalCluster _cluster = streams.Cluster;

    /// <summary>Of the test's own instance.</summary>
    private readonly string _name = streams.NextName();

    private string Scratch => Directory.CreateDirectory($"{_cluster.Folder}/{_name}").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Exec_passes_exit_code_streams_and_input_through()
    {
        await CreateAsync("exec sleep 1000");
        var result = await CtlAsync("in\n", "instance", "exec", "-i", _name, "--", "sh", "-c", "cat; echo err >&2; exit 42");
        Assert.Equal((42, "in\n", "err\n"), result);
        Assert.Equal(137, (await CtlAsync("", "instance", "exec", _name, "--", "sh", "-c", "kill -9 $$")).ExitCode);
        Assert.Equal((127, true), (await CtlAsync("", "instance", "exec", _name, "--", "nope")) is var missing ? (missing.ExitCode, missing.Error.Contains("nope", StringComparison.Ordinal)) : default);
        Assert.Equal((0, "65534\n/tmp\nx\n", ""), await CtlAsync("", "instance", "exec", "-u", "nobody", "-w", "/tmp", "-e", "A=x", _name, "--", "sh", "-c", "id -u; pwd; echo $A"));
        Assert.Equal(1, (await CtlAsync("", "instance", "exec", "nobody-here", "--", "true")).ExitCode);
    }

    [Fact]
    public async Task Many_short_commands_at_once_all_tell_their_exit()
    {
        await CreateAsync("exec sleep 1000");
        for (var round = 0; round < 5; round++)
        {
            var codes = await Task.WhenAll(Enumerable.Range(0, 16).Select(async number =>
            {
                using var call = _cluster.Compute.Exec(deadline: LocalCluster.Deadline(60));
                await call.RequestStream.WriteAsync(new ExecInput { Instance = _name, Command = { "sh", "-c", $"echo {number}; exit {number}" } }, Cancel);
                var output = "";
                ExitStatus? exit = null;
                await foreach (var message in call.ResponseStream.ReadAllAsync(Cancel))
                {
                    output += message.Stdout.ToStringUtf8();
                    exit = message.Exit ?? exit;
                }

                return (output, exit?.Code);
            }));
            Assert.Equal(Enumerable.Range(0, 16).Select(number => ($"{number}\n", (int?)number)), codes);
        }
    }

    [Fact]
    public async Task A_terminal_is_passed_through_and_put_back_as_it_was()
    {
        await CreateAsync("exec sleep 1000");
        await using var terminal = Pty($"stty rows 24 cols 80; stty -g; {Ctl} instance exec -it {_name} -- sh -c 'stty size; read line; echo got $line; until stty size | grep 132; do usleep 10000; done; exit 9'; echo code $?; stty -g");
        await terminal.UntilAsync("24 80");
        var client = await terminal.ChildAsync("hypervisor-ctl");
        await Shell.RunAsync("stty", "-F", new FileInfo($"/proc/{client}/fd/0").LinkTarget!, "rows", "50", "cols", "132");
        terminal.Type("hello\n");
        await terminal.UntilAsync("got hello");
        await terminal.UntilAsync("50 132");
        await terminal.UntilAsync("code 9");
        Assert.Equal(0, await terminal.EndAsync());
        var settings = Settings().Matches(terminal.Text).Select(match => match.Value).ToList();
        Assert.Equal(2, settings.Count);
        Assert.Equal(settings[0], settings[1]);
    }

    [Theory]
    [InlineData(Linux.SignalTerminate, 143)]
    [InlineData(2, 130)]
    public async Task A_signal_puts_the_terminal_back_too_and_the_command_is_gone(int signal, int code)
    {
        await CreateAsync("exec sleep 1000");
        await using var terminal = Pty($"stty -g; {Ctl} instance exec -it {_name} -- sh -c 'echo ready; exec sleep 4321'; echo code $?; stty -g");
        await terminal.UntilAsync("ready");
        Linux.Signal(await terminal.ChildAsync("hypervisor-ctl"), signal);
        await terminal.UntilAsync($"code {code}");
        await terminal.EndAsync();
        var settings = Settings().Matches(terminal.Text).Select(match => match.Value).ToList();
        Assert.Equal(settings[0], settings[^1]);
        await GoneAsync("4321");
    }

    [Theory]
    [InlineData(2)]
    [InlineData(Linux.SignalTerminate)]
    public async Task Without_a_terminal_a_signal_goes_to_the_command_and_its_exit_comes_back(int signal)
    {
        await CreateAsync("exec sleep 1000");
        await using var terminal = Pty(
            $"{Ctl} instance exec {_name} -- sh -c 'trap \"echo caught INT; exit 7\" INT; trap \"echo caught TERM; exit 8\" TERM; echo ready; while :; do sleep 1000 & wait $!; done'; echo code $?");
        await terminal.UntilAsync("ready");
        Linux.Signal(await terminal.ChildAsync("hypervisor-ctl"), signal);
        await terminal.UntilAsync(signal == 2 ? "caught INT" : "caught TERM");
        await terminal.UntilAsync(signal == 2 ? "code 7" : "code 8");
    }

    [Fact]
    public async Task A_client_that_is_killed_takes_its_command_with_it()
    {
        await CreateAsync("exec sleep 1000");
        await using var terminal = Pty($"{Ctl} instance exec {_name} -- sh -c 'sleep 5432 & echo ready; wait'");
        await terminal.UntilAsync("ready");
        Linux.Signal(await terminal.ChildAsync("hypervisor-ctl"), Linux.SignalKill);
        await GoneAsync("5432");
    }

    [Fact]
    public async Task A_follower_sees_each_line_once_while_agent_and_instance_are_restarted_and_ends_with_the_instance()
    {
        const string script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); usleep 5000; done; exec sleep 1000";
        await CreateAsync(script);
        var following = CtlAsync("", "instance", "logs", "-f", _name);
        await RealTime.UntilAsync("some lines", TimeSpan.FromSeconds(20), async () => (await CtlAsync("", "instance", "logs", _name)).Output.Contains("line 50", StringComparison.Ordinal));
        await _cluster.Agent.KillAsync();
        _cluster.Agent.Start();
        await RealTime.UntilAsync("all lines", TimeSpan.FromSeconds(60), async () => (await CtlAsync("", "instance", "logs", _name)).Output.Contains("line 399", StringComparison.Ordinal));
        await _cluster.Compute.RestartInstanceAsync(new RestartInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync("the second run", TimeSpan.FromSeconds(60), async () =>
            (await CtlAsync("", "instance", "logs", _name)).Output.Split("line 399\n").Length == 3);
        var uid = (await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(5))).Metadata.Uid;
        await _cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        var (code, output, error) = await following.WaitAsync(TimeSpan.FromSeconds(60), Cancel);
        var run = string.Concat(Enumerable.Range(0, 400).Select(number => $"line {number}\n"));
        Assert.Equal((0, "", run + run), (code, error, output));
        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries(_cluster.Folder + "/agent/logs", "*", SearchOption.AllDirectories),
            path => path.Contains(uid, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Logs_are_chosen_by_stream_time_and_number_also_after_the_instance_has_failed()
    {
        await CreateAsync("echo one; echo bad >&2; echo two; exit 3", wait: InstanceState.Failed);
        Assert.Equal("one\ntwo\n", (await CtlAsync("", "instance", "logs", "--stdout", _name)).Output);
        Assert.Equal("bad\n", (await CtlAsync("", "instance", "logs", "--stderr", _name)).Output);
        Assert.Equal("two\n", (await CtlAsync("", "instance", "logs", "--stdout", "--tail", "1", _name)).Output);
        Assert.Equal("", (await CtlAsync("", "instance", "logs", "--since", "2999-01-01T00:00:00Z", _name)).Output);
        Assert.Matches(@"^\d{4}-\d\d-\d\dT[\d:.]+Z bad\n$", (await CtlAsync("", "instance", "logs", "--stderr", "--timestamps", "--since", "5m", _name)).Output);
    }

    [Fact]
    public async Task Files_and_folders_go_in_and_come_out_as_they_were()
    {
        await CreateAsync("exec sleep 1000");
        Directory.CreateDirectory(Scratch + "/tree/sub");
        var bytes = new byte[700_000];
        new Random(7).NextBytes(bytes);
        await File.WriteAllBytesAsync(Scratch + "/tree/sub/data", bytes, Cancel);
        File.SetUnixFileMode(Scratch + "/tree/sub/data", (UnixFileMode)0x1E8);
        await Shell.RunAsync("chown", "1234:5678", Scratch + "/tree/sub/data");
        File.CreateSymbolicLink(Scratch + "/tree/link", "sub/data");
        Assert.Equal((0, "", ""), await CtlAsync("", "instance", "cp", Scratch + "/tree", _name + ":/tmp"));
        Assert.Equal("1234 5678 750 700000\n", (await CtlAsync("", "instance", "exec", _name, "--", "stat", "-c", "%u %g %a %s", "/tmp/tree/sub/data")).Output);
        Assert.Equal((0, "", ""), await CtlAsync("", "instance", "cp", _name + ":/tmp/tree", Scratch + "/back"));
        Assert.Equal(bytes, await File.ReadAllBytesAsync(Scratch + "/back/sub/data", Cancel));
        Assert.Equal("1234 5678 750\n", await Shell.RunAsync("stat", "-c", "%u %g %a", Scratch + "/back/sub/data"));
        Assert.Equal("sub/data", new FileInfo(Scratch + "/back/link").LinkTarget);
        var (code, _, error) = await CtlAsync("", "instance", "cp", _name + ":/tmp/nothing", Scratch);
        Assert.Equal((1, "error: Instance"), (code, error.Split(" '")[0]));
        Assert.Contains("/tmp/nothing", error, StringComparison.Ordinal);
        var (refused, _, why) = await CtlAsync("", "instance", "cp", Scratch + "/tree", _name + ":/proc/sys");
        Assert.Equal((1, "error: Instance"), (refused, why.Split(" '")[0]));
    }

    [Fact]
    public async Task Statistics_show_memory_processes_and_traffic()
    {
        await CreateAsync("while :; do :; done");
        var stats = await _cluster.Compute.GetInstanceStatsAsync(new GetInstanceStatsRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        Assert.InRange(stats.CpuPercent, 1, 400);
        Assert.Equal((256L << 20, 1), (stats.MemoryLimitBytes, stats.Pids));
        Assert.NotNull(stats.Network);
        Assert.Matches($@"^NAME +CPU% +CPU-TIME +MEMORY +LIMIT .*\n{_name} +[\d.]+ +[\d.]+s ", (await CtlAsync("", "instance", "stats", _name)).Output);
        using var watch = _cluster.Compute.WatchInstanceStats(new WatchInstanceStatsRequest { Instance = _name, Interval = new() { Seconds = 1 } }, deadline: LocalCluster.Deadline(60));
        Assert.True(await watch.ResponseStream.MoveNext(Cancel));
        await _cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        while (await watch.ResponseStream.MoveNext(Cancel))
        {
            Assert.Equal(256L << 20, watch.ResponseStream.Current.MemoryLimitBytes);
        }
    }

    [Fact]
    public async Task Statistics_are_watched_until_the_instance_stops()
    {
        await CreateAsync("exec sleep 1000", spec => spec.Stop = new StopSpec { Signal = "SIGKILL" });
        await using var watching = new CommandLine(_cluster).Start("instance", "stats", "--watch", _name);
        await RealTime.UntilAsync("two samples", TimeSpan.FromSeconds(30), () => watching.Output.Split('\n').Count(line => line.StartsWith(_name + " ", StringComparison.Ordinal)) >= 2);
        Assert.StartsWith("NAME", watching.Output, StringComparison.Ordinal);
        Assert.False(watching.HasEnded);
        await _cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        Assert.Equal(0, await watching.EndAsync());
    }

    [Fact]
    public async Task A_dry_run_of_an_update_says_what_needs_a_restart_and_changes_nothing()
    {
        await CreateAsync("exec sleep 1000");
        var before = await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(5));
        var restarting = await CtlAsync("", "instance", "update", _name, "--memory", "64", "--hostname", "other", "--dry-run");
        Assert.Equal((0, $"{_name} would be updated with a restart, which these need: spec.process.hostname (dry run)\n"), (restarting.ExitCode, restarting.Output));
        var live = await CtlAsync("", "instance", "update", _name, "--memory", "64", "--dry-run");
        Assert.Equal((0, $"{_name} would be updated without a restart (dry run)\n"), (live.ExitCode, live.Output));
        var after = await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(5));
        Assert.Equal((before.Metadata.Generation, before.Spec), (after.Metadata.Generation, after.Spec));
    }

    [Fact]
    public async Task The_console_shows_and_feeds_the_main_process()
    {
        await CreateAsync("while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 0; done", spec => (spec.Process.Stdin, spec.Process.Terminal) = (true, true), InstanceState.Running);
        await using var terminal = Pty($"{Ctl} instance console {_name}; echo code $?");
        await terminal.ChildAsync("hypervisor-ctl");
        terminal.Type("hello\n");
        await terminal.UntilAsync("got hello");
        terminal.Type("end\n");
        await terminal.UntilAsync("code 0");
    }

    [Fact]
    public async Task Ctrl_P_Ctrl_Q_leaves_the_console_and_the_instance_as_it_was()
    {
        await CreateAsync("while read line; do echo \"got $line\"; done", spec => (spec.Process.Stdin, spec.Process.Terminal) = (true, true), InstanceState.Running);
        foreach (var word in new[] { "one", "two" })
        {
            await using var terminal = Pty($"stty -g; {Ctl} instance console {_name}; echo code $?; stty -g");
            await terminal.ChildAsync("hypervisor-ctl");
            await RealTime.UntilAsync("the terminal is passed through", TimeSpan.FromSeconds(20), async () =>
            {
                // Keys typed before would be the local terminal's.
                var input = new FileInfo($"/proc/{await terminal.ChildAsync("hypervisor-ctl")}/fd/0").LinkTarget!;
                return (await Shell.RunAsync("stty", "-F", input, "-a")).Contains("-icanon", StringComparison.Ordinal);
            });
            terminal.Type(word + "\n");
            await terminal.UntilAsync("got " + word);
            terminal.Type("\u0010\u0011");
            await terminal.UntilAsync("code 0");
            Assert.Equal(0, await terminal.EndAsync());
            var settings = Settings().Matches(terminal.Text).Select(match => match.Value).ToList();
            Assert.Equal(settings[0], settings[^1]);
        }

        var running = await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(5));
        Assert.Equal((InstanceState.Running, 0), (running.Status.State, running.Status.Restarts));
    }

    [Fact]
    public async Task An_agent_lets_nobody_in_without_its_credential_and_a_token()
    {
        await CreateAsync("exec sleep 1000");
        using var channel = GrpcChannel.ForAddress("http://agent", new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler
            {
                ConnectCallback = async (_, _) => new System.Net.Sockets.NetworkStream(
                    await _cluster.ConnectAsync(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 50052)), ownsSocket: true),
            },
        });
        var agent = new AgentService.AgentServiceClient(channel);
        Assert.Equal(StatusCode.Unauthenticated, await RefusalAsync([]));
        var identity = Directory.EnumerateFiles(_cluster.Folder + "/agent", "*.json").Select(File.ReadAllText).Single(text => text.Contains("\"credential\"", StringComparison.Ordinal));
        var credential = Credential().Match(identity).Groups[1].Value;
        var known = new Metadata { { "authorization", "Bearer " + credential } };
        Assert.Equal(StatusCode.PermissionDenied, await RefusalAsync(known));
        var instance = await _cluster.Compute.GetInstanceAsync(new GetInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(5));
        var stale = new InstanceCopy { Uid = instance.Metadata.Uid, Epoch = instance.Placement.Epoch - 1 };
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await agent.OpenStreamAsync(
            new OpenStreamRequest { Instance = stale, Kind = StreamKind.Exec }, known, LocalCluster.Deadline(5)));
        Assert.Equal(StatusCode.FailedPrecondition, refused.StatusCode);

        // A token is good for one stream of its kind, whatever the stream comes to.
        var copy = new InstanceCopy { Uid = instance.Metadata.Uid, Epoch = instance.Placement.Epoch };
        var token = (await agent.OpenStreamAsync(new OpenStreamRequest { Instance = copy, Kind = StreamKind.Exec }, known, LocalCluster.Deadline(5))).Token;
        var permitted = new Metadata { known[0], { "hypervisor-stream-token", token } };
        using (var first = agent.Exec(permitted, LocalCluster.Deadline(20)))
        {
            await first.RequestStream.WriteAsync(new ExecInput { Command = { "true" } }, Cancel);
            ExitStatus? exit = null;
            await foreach (var message in first.ResponseStream.ReadAllAsync(Cancel))
            {
                exit = message.Exit ?? exit;
            }

            Assert.Equal(0, exit!.Code);
        }

        Assert.Equal(StatusCode.PermissionDenied, await RefusalAsync(permitted));
        var console = (await agent.OpenStreamAsync(new OpenStreamRequest { Instance = copy, Kind = StreamKind.Console }, known, LocalCluster.Deadline(5))).Token;
        var other = new Metadata { known[0], { "hypervisor-stream-token", console } };
        Assert.Equal(StatusCode.PermissionDenied, await RefusalAsync(other));
        using (var late = agent.AttachConsole(other, LocalCluster.Deadline(5)))
        {
            Assert.Equal(StatusCode.PermissionDenied, (await Assert.ThrowsAsync<RpcException>(() => late.ResponseStream.MoveNext(Cancel))).StatusCode);
        }

        // A token ends with its instance, and so does what is open.
        var last = (await agent.OpenStreamAsync(new OpenStreamRequest { Instance = copy, Kind = StreamKind.Exec }, known, LocalCluster.Deadline(5))).Token;
        Assert.Equal(0, (await CtlAsync("", "instance", "exec", _name, "--", "true")).ExitCode);
        var open = CtlAsync("", "instance", "exec", _name, "--", "sleep", "1000");
        await RealTime.UntilAsync("the command runs", TimeSpan.FromSeconds(20), async () =>
            (await _cluster.Compute.GetInstanceStatsAsync(new GetInstanceStatsRequest { Instance = _name }, deadline: LocalCluster.Deadline(10))).Pids == 2);
        await _cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = _name }, deadline: LocalCluster.Deadline(10));
        Assert.NotEqual(0, (await open.WaitAsync(TimeSpan.FromSeconds(30), Cancel)).ExitCode);
        Assert.Contains(await RefusalAsync(new Metadata { known[0], { "hypervisor-stream-token", last } }), new[] { StatusCode.NotFound, StatusCode.FailedPrecondition });

        // Those that the server asked for itself look like ours, and no digest of an image is written without saying so.
        Assert.Matches(Secret(), token);
        foreach (var process in new[] { _cluster.Agent, _cluster.Server })
        {
            Assert.DoesNotContain(credential, process.Log, StringComparison.Ordinal);
            Assert.DoesNotMatch(Secret(), process.Log);
        }

        async Task<StatusCode> RefusalAsync(Metadata headers)
        {
            using var call = agent.Exec(headers, LocalCluster.Deadline(5));
            return (await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(Cancel))).StatusCode;
        }
    }

    private string Ctl => $"nsenter --net={_cluster.NetworkNamespace} -- {LocalCluster.Binaries}/hypervisor-ctl";

    [GeneratedRegex("[0-9a-f]+(:[0-9a-f]+){30,}")]
    private static partial Regex Settings();

    [GeneratedRegex("(?<!sha256[:/])(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")]
    private static partial Regex Secret();

    [GeneratedRegex("\"credential\": \"([^\"]+)\"")]
    private static partial Regex Credential();

    private async Task CreateAsync(string script, Action<InstanceSpec>? change = null, InstanceState wait = InstanceState.Running)
    {
        var spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Resources = new Resources { CpuMillicores = 100 }, Process = new ProcessSpec { Command = { "/bin/sh", "-c", script } } };
        change?.Invoke(spec);
        await _cluster.Compute.CreateInstanceAsync(new CreateInstanceRequest { Name = _name, Spec = spec }, deadline: LocalCluster.Deadline(10));
        await _cluster.InstanceAsync(_name, $"the instance is {wait}", instance => instance.Status.State == wait);
    }

    private Task CreateAsync(string script, InstanceState wait) => CreateAsync(script, null, wait);

    private Task GoneAsync(string word) => RealTime.UntilAsync($"no process {word} is left", TimeSpan.FromSeconds(20), () =>
        !new Leftovers(_cluster).InstanceProcesses().Any(pid => CommandLine(pid).Contains(word, StringComparison.Ordinal)));

    private async Task<(int ExitCode, string Output, string Error)> CtlAsync(string input, params string[] words)
    {
        var start = new ProcessStartInfo("nsenter", [$"--net={_cluster.NetworkNamespace}", "--", $"{LocalCluster.Binaries}/hypervisor-ctl", .. words])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var (output, error) = (process.StandardOutput.ReadToEndAsync(Cancel), process.StandardError.ReadToEndAsync(Cancel));
        await process.WaitForExitAsync(Cancel).WaitAsync(TimeSpan.FromSeconds(90), Cancel);
        return (process.ExitCode, await output, await error);
    }

    private static PtySession Pty(string command) => new(command);

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
}
