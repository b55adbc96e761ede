using System.Net;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Guests.BareGuest;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: what a container gets of its image and specification, a guest of the same image gets too, and the way into it. Few guests,
/// since each takes seconds under emulation.
/// </summary>
public sealed class InitTests(InitTests.RootFileSystem root) : IClassFixture<InitTests.RootFileSystem>
{
    private static readonly GuestConfig Plain = new()
    {
        Run = 3,
        Uid = "11111111-2222-4333-8444-555555555555",
        Hostname = "guest-one",
        Arguments = ["sh", "-c", "exit 0"],
    };

    [Fact]
    public async Task The_entry_point_runs_as_it_would_in_a_container_and_its_exit_is_on_the_drive()
    {
        await using var guest = await StartAsync(root.Path, Plain with
        {
            Address = new GuestAddress(IPAddress.Parse("10.0.2.7"), 24, IPAddress.Parse("10.0.2.2"), "02:00:0a:80:00:02", 1400),
            DnsServers = ["10.0.2.3"],
            DnsSearch = ["a.example", "b.example"],
            Arguments = ["sh", "-c", "id; pwd; hostname; echo $MINE $HOME; cat /etc/hosts /etc/resolv.conf; ip addr show eth0; ip route; "
                + "ulimit -n; df -m / | tail -1; echo oops >/dev/stderr; kill -USR1 $$"],
            Environment = ["MINE=first", "MINE=yours"],
            WorkingDirectory = "/srv/deep",
            User = "worker",
            PidsLimit = 50,
        });
        Assert.Equal(new GuestExit(3, 138, 10, OutOfMemory: false, null, ""), await guest.EndAsync());
        var lines = guest.Output.Split('\n');
        Assert.Equal(["uid=1000(worker) gid=1001(worker) groups=1002(extra)", "/srv/deep", "guest-one", "yours /home/worker"], lines[..4]);
        Assert.Contains("10.0.2.7\tguest-one", lines);
        Assert.Contains("nameserver 10.0.2.3", lines);
        Assert.Contains("search a.example b.example", lines);
        Assert.Contains(lines, line => line.Contains("mtu 1400", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("inet 10.0.2.7/24", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("default via 10.0.2.2 dev eth0", StringComparison.Ordinal));
        Assert.Contains("65536", lines);
        // The file system of 24 MiB has become as large as its disk.
        Assert.Contains(lines, line => line.EndsWith(" /", StringComparison.Ordinal) && int.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) > 40);
        Assert.Equal("oops\n", guest.Errors);
    }

    /// <summary>Nobody on the way takes them for anything but text: neither the drive that carries them, nor the init, nor a shell.</summary>
    [Fact]
    public async Task Arguments_environment_and_directory_arrive_as_they_were_written()
    {
        string[] hostile =
        [
            "two words", " ", "", "-rf", "--", "a,b=c", "line\nbreak", "tab\there", "\"double\"", "'single'", "$(touch /canary)", "`touch /canary`", "${HOME}",
            "; reboot", "*", "back\\slash", "虚拟机", "\U0001F5A5", "%s%n", "<&>", "{\"key\":1}",
        ];
        const string Directory = "/srv/$(touch canary) `id` *; 虚拟机";
        await using var guest = await StartAsync(root.Path, Plain with
        {
            Arguments = ["sh", "-c", "printf '[%s]' \"$@\"; printf '\\n<%s>' \"$MINE\" \"$(pwd)\"; [ ! -e /canary ] && [ ! -e /srv/canary ]", .. hostile.Prepend("sh")],
            Environment = ["MINE=" + string.Join('|', hostile)],
            WorkingDirectory = Directory,
        });

        Assert.Equal(0, (await guest.EndAsync()).Code);
        Assert.Equal($"{string.Concat(hostile.Select(text => $"[{text}]"))}\n<{string.Join('|', hostile)}>\n<{Directory}>", guest.Output);
    }

    [Theory]
    [InlineData("nothing-of-that-name", "", 127, "CommandNotFound")]
    [InlineData("/etc/plain", "nobody-knows-me", 126, "UserNotFound")]
    public async Task What_cannot_be_started_says_why(string command, string user, int code, string reason)
    {
        await using var guest = await StartAsync(root.Path, Plain with { Arguments = [command], User = user });
        var exit = await guest.EndAsync();
        Assert.Equal((code, reason), (exit.Code, exit.Reason));
        Assert.Contains(user.Length > 0 ? user : command, exit.Message, StringComparison.Ordinal);
        Assert.Equal(exit.Message + "\n", guest.Errors);
    }

    [Fact]
    public async Task The_channel_leads_into_a_guest_and_survives_the_agent()
    {
        await using var guest = await StartAsync(root.Path, Plain with
        {
            Arguments = ["sh", "-c", "trap 'echo stopped; exit 5' TERM; echo $$ > /dev/shm/main; echo ready; while read -r line; do echo \"got $line\"; done; while :; do sleep 1 & wait; done"],
            Environment = ["MINE=yours"],
            Stdin = true,
            ReadOnlyRoot = true,
        });
        await guest.UntilAsync("the entry point runs", () => guest.Output.Contains("ready", StringComparison.Ordinal));
        Assert.Equal(InitState.Runs, await guest.Channels.WaitAsync(guest.Id, guest.Socket, Boot, Cancel));

        // Streams, environment and exit of additional processes.
        var (output, errors, exit) = await guest.RunAsync(Script("cat; echo $MINE >&2; exit 7"), "line one\nline two\n");
        Assert.Equal(("line one\nline two\n", "yours\n", 7), (output, errors, exit.Code));
        Assert.Equal(137, (await guest.RunAsync(Script("kill -9 $$"))).Exit.Code);

        // Where memory runs out they end before the main process does.
        Assert.Equal("500\n0\n", (await guest.RunAsync(Script("cat /proc/self/oom_score_adj /proc/$(cat /dev/shm/main)/oom_score_adj"))).Output);
        var asWorker = Script("id -u; pwd; touch /tmp/x || echo read-only");
        (asWorker.User, asWorker.WorkingDir) = ("worker", "/etc");
        Assert.Equal("1000\n/etc\nread-only\n", (await guest.RunAsync(asWorker)).Output);
        Assert.Equal(4 << 20, (await guest.RunAsync(Script("dd if=/dev/zero bs=65536 count=64 2>/dev/null | tr '\\0' '}'"))).Output.Length);
        Assert.Equal(1 << 20, (await guest.RunAsync(Script("wc -c"), new string('~', 1 << 20))) is var counted ? int.Parse(counted.Output) : 0);
        Assert.Equal("CommandNotFound", await ReasonAsync(guest, new ExecInput { Command = { "no-such-program" } }));
        Assert.Equal("CommandNotExecutable", await ReasonAsync(guest, new ExecInput { Command = { "/etc/plain" } }));
        Assert.Equal("UserNotFound", await ReasonAsync(guest, new ExecInput { Command = { "true" }, User = "nobody-knows-me" }));
        Assert.Equal("WorkingDirectoryInvalid", await ReasonAsync(guest, new ExecInput { Command = { "true" }, WorkingDir = "/etc/plain/x" }));

        // A terminal, its size and its changes.
        await using (var terminal = await guest.Channels.ExecAsync(
            guest.Id, guest.Socket,
            new ExecInput { Command = { "sh", "-c", "trap 'stty size; exit 9' WINCH; stty size; echo on; while :; do sleep 0.1; done" }, Terminal = true, AttachStdin = true, Resize = new TerminalSize { Columns = 100, Rows = 30 } },
            Cancel))
        {
            var seen = await ReadUntilAsync(terminal, "on");
            Assert.StartsWith("30 100\r\n", seen, StringComparison.Ordinal);
            await terminal.ResizeAsync(new TerminalSize { Columns = 90, Rows = 20 }, Cancel);
            Assert.Contains("20 90", await ReadAllAsync(terminal, LogStream.Stdout), StringComparison.Ordinal);
            Assert.Equal(9, (await terminal.ExitAsync(Cancel)).Code);
        }

        // An agent that dies takes its processes with it, but not the main one, and whether or not another agent comes.
        const string Watch = "echo begun; while kill -0 $1 2>/dev/null; do sleep 0.1; done; echo orphan gone > /proc/$(cat /dev/shm/main)/fd/1";
        var orphan = await guest.Channels.ExecAsync(guest.Id, guest.Socket, Script($"setsid sh -c '{Watch}' sh $$ & sleep 1000"), Cancel);
        await ReadUntilAsync(orphan, "begun");
        await guest.ReplaceAgentAsync();
        Assert.Equal(137, (await orphan.ExitAsync(Cancel)).Code);
        await guest.UntilAsync("the process has ended with its agent", () => guest.Output.Contains("orphan gone", StringComparison.Ordinal));

        // The next ones are heard at their first word, though the kernel may tell of them after it.
        for (var agent = 0; agent < 40; agent++)
        {
            await guest.ReplaceAgentAsync();
            Assert.Equal("heard\n", (await guest.RunAsync(Script("echo heard"))).Output);
        }

        var stats = await guest.Channels.MeasureAsync(guest.Id, guest.Socket, Cancel);
        Assert.InRange(stats.MemoryBytes, 8L << 20, 192L << 20);
        Assert.InRange(stats.MemoryLimitBytes, 96L << 20, 192L << 20);
        Assert.InRange(stats.Pids, 1, 10);
        Assert.True(stats.CpuTime.ToTimeSpan() > TimeSpan.Zero && stats.Block.ReadBytes > 0);

        // Files in and out.
        await using (var writer = new GuestTreeWriter(await guest.Channels.ExecAsync(
            guest.Id, guest.Socket, Records.OfBuiltIn(GuestCopies.CopyIn, stdin: true, "/dev/shm", "tree"), Cancel)))
        {
            await writer.AddAsync(new FileEntry { Kind = FileKind.Directory, Mode = 0x1C0, UserId = 1000 }, Cancel);
            await writer.AddAsync(new FileEntry { Path = "file", Kind = FileKind.File, Mode = 0x1A4, SizeBytes = 200_000, ModifiedAt = new() { Seconds = 1000 } }, Cancel);
            await writer.WriteAsync(new byte[200_000], Cancel);
            await writer.AddAsync(new FileEntry { Path = "link", Kind = FileKind.Symlink, LinkTarget = "file" }, Cancel);
            await writer.CompleteAsync(Cancel);
        }

        Assert.Equal("drwx------ 1000\n200000 1000\n", (await guest.RunAsync(Script("stat -c '%A %u' /dev/shm/tree; stat -c '%s %Y' /dev/shm/tree/file"))).Output);
        await using (var reading = await guest.Channels.ExecAsync(
            guest.Id, guest.Socket, Records.OfBuiltIn(GuestCopies.CopyOut, stdin: false, "/dev/shm/tree"), Cancel))
        {
            var parts = await GuestCopies.ReadAsync(reading, Cancel).ToListAsync(Cancel);
            Assert.Equal(["", "file", "link"], parts.Where(part => part.Entry is not null).Select(part => part.Entry.Path));
            Assert.Equal(200_000, parts.Sum(part => part.Data.Length));
        }

        Assert.Equal("PathNotFound", (await Assert.ThrowsAsync<DriverException>(() => guest.Channels.ExecAsync(
            guest.Id, guest.Socket, Records.OfBuiltIn(GuestCopies.CopyOut, stdin: false, "/no/such"), Cancel))).Reason);

        // A frozen root takes no writes until it is thawed.
        await guest.Channels.FreezeAsync(guest.Id, guest.Socket, TimeSpan.FromSeconds(30), Cancel);
        await guest.Channels.ThawAsync(guest.Id, guest.Socket, Cancel);

        // So it is for one that goes on from its memory, which is told the time: nothing is held for it any more.
        await guest.Channels.FreezeAsync(guest.Id, guest.Socket, TimeSpan.FromMinutes(10), Cancel);
        await guest.Channels.RefreshAsync(guest.Id, guest.Socket, Cancel);
        Assert.Equal("GuestRefused", (await Assert.ThrowsAsync<DriverException>(() => guest.Channels.ThawAsync(guest.Id, guest.Socket, Cancel))).Reason);

        // The main process: its input, signals, and the end of the guest.
        var main = await guest.Channels.OpenAsync(guest.Id, guest.Socket, Cancel);
        Assert.Equal(6, await main.Input.TakeAsync(6, Cancel));
        await main.SendAsync(FrameType.Input, 0, Encoding.UTF8.GetBytes("hello\n"), Cancel);
        await guest.UntilAsync("the input arrives", () => guest.Output.Contains("got hello", StringComparison.Ordinal));
        await main.SendAsync(FrameType.Input, 0, ReadOnlyMemory<byte>.Empty, Cancel);
        await guest.Channels.SignalAsync(guest.Id, guest.Socket, 15, Cancel);
        Assert.Equal(new GuestExit(3, 5, 0, OutOfMemory: false, null, ""), await guest.EndAsync());
        Assert.EndsWith("stopped\n", guest.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_guest_that_holds_begins_as_somebody_else()
    {
        await using var guest = await StartAsync(root.Path, Plain with { HoldBeforeStart = true });
        Assert.Equal(InitState.Held, await guest.Channels.WaitAsync(guest.Id, guest.Socket, Boot, Cancel));
        await guest.Channels.BeginAsync(guest.Id, guest.Socket, Plain with
        {
            Run = 8,
            Hostname = "another",
            Address = new GuestAddress(IPAddress.Parse("10.0.2.9"), 24, IPAddress.Parse("10.0.2.2"), "02:00:0a:80:00:09", 1450),
            Arguments = ["sh", "-c", "hostname; cat /etc/hostname; ip addr show eth0; echo ready; cat"],
            Environment = [new string('=', 1), "LONG=" + new string('x', 100_000)],
            Terminal = true,
            Stdin = true,
        }, Cancel);
        await guest.UntilAsync("the entry point runs", () => guest.Output.Contains("ready", StringComparison.Ordinal));
        Assert.StartsWith("another\r\nanother\r\n", guest.Output, StringComparison.Ordinal);
        Assert.Contains("02:00:0a:80:00:09", guest.Output, StringComparison.Ordinal);
        Assert.Contains("inet 10.0.2.9/24", guest.Output, StringComparison.Ordinal);
        await guest.Channels.ShutdownAsync(guest.Id, guest.Socket, TimeSpan.FromSeconds(20), Cancel);
        Assert.Equal(new GuestExit(8, 143, 15, OutOfMemory: false, null, ""), await guest.EndAsync(8));
    }

    /// <summary>As most do, whose main process was there before: with the clock, user, directory and limits of the one that it becomes.</summary>
    [Fact]
    public async Task A_main_process_that_waited_is_as_one_that_was_started()
    {
        await using var guest = await StartAsync(root.Path, Plain with { HoldBeforeStart = true });
        Assert.Equal(InitState.Held, await guest.Channels.WaitAsync(guest.Id, guest.Socket, Boot, Cancel));
        var asked = RealTime.Clock.GetUtcNow();
        await guest.Channels.BeginAsync(guest.Id, guest.Socket, Plain with
        {
            Run = 9,
            Hostname = "b",
            Address = new GuestAddress(IPAddress.Parse("10.0.2.109"), 24, IPAddress.Parse("10.0.2.2"), "02:00:0a:80:00:0b", 1400),
            DnsServers = ["10.0.2.3", "10.0.2.4"],
            DnsSearch = ["a.example", "b.example"],
            Arguments = ["sh", "-c", "id; pwd; hostname; echo $HOSTNAME $HOME $MINE; ulimit -n; date +%s; cat /etc/hostname /etc/hosts /etc/resolv.conf; "
                + "ip addr show eth0; ip route; cat /proc/self/cgroup /sys/fs/cgroup/instance/pids.max; echo oops >/dev/stderr; read -r none || echo no input; kill -USR1 $$"],
            Environment = ["MINE=yours"],
            WorkingDirectory = "/srv/deep",
            User = "worker",
            PidsLimit = 50,
        }, Cancel);
        Assert.Equal(InitState.Runs, await guest.Channels.StateAsync(guest.Id, guest.Socket, Cancel));
        Assert.Equal(new GuestExit(9, 138, 10, OutOfMemory: false, null, ""), await guest.EndAsync(9));
        var lines = guest.Output.Split('\n');
        Assert.Equal(["uid=1000(worker) gid=1001(worker) groups=1002(extra)", "/srv/deep", "b", "b /home/worker yours", "65536"], lines[..5]);
        Assert.InRange(long.Parse(lines[5], System.Globalization.CultureInfo.InvariantCulture), asked.ToUnixTimeSeconds() - 1, RealTime.Clock.GetUtcNow().ToUnixTimeSeconds());
        Assert.Equal(
            ["b", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "10.0.2.109\tb", "nameserver 10.0.2.3", "nameserver 10.0.2.4", "search a.example b.example"],
            lines[6..13]);
        Assert.Contains("02:00:0a:80:00:0b", guest.Output, StringComparison.Ordinal);
        Assert.Contains("mtu 1400", guest.Output, StringComparison.Ordinal);
        Assert.Contains("inet 10.0.2.109/24 brd 10.0.2.255", guest.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("inet6", guest.Output, StringComparison.Ordinal);
        Assert.Contains(lines, line => line.StartsWith("default via 10.0.2.2 dev eth0", StringComparison.Ordinal));
        Assert.Contains("0::/instance", lines);
        Assert.Contains("50", lines);
        Assert.Contains("no input", lines);
        Assert.Equal("oops\n", guest.Errors);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static async Task<string> ReasonAsync(BareGuest guest, ExecInput request) =>
        (await Assert.ThrowsAsync<DriverException>(() => guest.Channels.ExecAsync(guest.Id, guest.Socket, request, Cancel))).Reason;

    private static async Task<string> ReadUntilAsync(GuestExec process, string wanted)
    {
        var text = "";
        var buffer = new byte[8192];
        while (!text.Contains(wanted, StringComparison.Ordinal) && await process.ReadAsync(LogStream.Stdout, buffer, Cancel) is > 0 and var read)
        {
            text += Encoding.UTF8.GetString(buffer, 0, read);
        }

        return text;
    }

    /// <summary>Made once; each guest has a copy.</summary>
    public sealed class RootFileSystem : IAsyncLifetime
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("hvr-").FullName;

        public string Path => System.IO.Path.Combine(_folder, "root.ext4");

        public async ValueTask InitializeAsync() => await MakeRootAsync(Path, System.IO.Path.Combine(_folder, "tree"));

        public ValueTask DisposeAsync()
        {
            Directory.Delete(_folder, recursive: true);
            return ValueTask.CompletedTask;
        }
    }
}
