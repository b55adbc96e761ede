using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Firecracker;

/// <summary>Nothing in a jail is reached through a link, however fast somebody exchanges it (CVE-2026-1386), and nothing outside goes with it.</summary>
public sealed class GuestRootTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public GuestRootTests()
    {
        Directory.CreateDirectory(_folder["jail"]);
        Directory.CreateDirectory(_folder["outside"]);
        File.WriteAllText(_folder["outside/canary"], "alive");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Opens_no_file_through_a_link()
    {
        using var root = GuestRoot.Open(_folder["jail"])!;
        File.CreateSymbolicLink(_folder["jail/saved"], _folder["outside/canary"]);
        Directory.CreateSymbolicLink(_folder["jail/inner"], _folder["outside"]);
        Assert.Throws<IOException>(() => root.OpenFile("saved"));
        Assert.Throws<IOException>(() => root.OpenFile("inner/canary"));
        Assert.Throws<IOException>(() => root.OpenFile("../outside/canary"));
        Assert.Throws<IOException>(() => root.Create("saved", 0));
        Assert.Null(GuestRoot.Open(_folder["none"]));
        Assert.Throws<IOException>(() => GuestRoot.Open(_folder["jail/inner"]));
    }

    [Fact]
    public async Task Connects_to_no_socket_through_a_link_while_somebody_exchanges_it()
    {
        using var secret = Listen(_folder["outside/secret"]);
        using var own = Listen(_folder["jail/own"]);
        File.CreateSymbolicLink(_folder["jail/other"], _folder["outside/secret"]);
        using var root = GuestRoot.Open(_folder["jail"])!;
        using var stop = new CancellationTokenSource();
        var flipper = Task.Factory.StartNew(
            () =>
            {
                while (!stop.IsCancellationRequested)
                {
                    Linux.Exchange(_folder["jail/own"], _folder["jail/other"]);
                }
            },
            TaskCreationOptions.LongRunning);
        var (reached, refused) = (0, 0);
        var started = RealClock.Instance.GetTimestamp();
        while ((reached < 20 || refused < 20) && RealClock.Instance.GetElapsedTime(started) < TimeSpan.FromSeconds(30))
        {
            try
            {
                await using var connection = await root.ConnectAsync("own", TestContext.Current.CancellationToken);
                using var accepted = await own.AcceptAsync(TestContext.Current.CancellationToken);
                reached++;
            }
            catch (IOException)
            {
                // A link was there, or the kernel saw the exchange.
                refused++;
            }
        }

        await stop.CancelAsync();
        await flipper;
        Assert.True(reached >= 20 && refused >= 20, $"{reached} reached, {refused} refused");
        Assert.False(secret.Poll(0, SelectMode.SelectRead));
    }

    [Fact]
    public void Brings_files_in_without_a_copy_and_lets_only_the_jail_write_what_it_may()
    {
        File.WriteAllText(_folder["disk"], "data");
        File.SetUnixFileMode(_folder["disk"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.CreateSymbolicLink(_folder["link"], _folder["disk"]);
        using (var root = GuestRoot.Open(_folder["jail"])!)
        {
            root.Bring(_folder["disk"], "disk-root", owner: null);
            Assert.Throws<IOException>(() => root.Bring(_folder["link"], "disk-link", owner: null));
            using var inside = root.OpenFile("disk-root")!;
            RandomAccess.Write(inside, "DATA"u8, 0);
        }

        Assert.Equal("DATA", File.ReadAllText(_folder["disk"]));
        Assert.True(File.GetUnixFileMode(_folder["disk"]).HasFlag(UnixFileMode.OtherRead));
    }

    [Fact]
    public void Empties_a_jail_and_nothing_else()
    {
        Directory.CreateDirectory(_folder["jail/a/b"]);
        File.WriteAllText(_folder["jail/a/b/c"], "");
        File.CreateSymbolicLink(_folder["jail/canary"], _folder["outside/canary"]);
        Directory.CreateSymbolicLink(_folder["jail/a/outside"], _folder["outside"]);
        using (var root = GuestRoot.Open(_folder["jail"])!)
        {
            root.Empty();
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder["jail"]));
        Assert.Equal("alive", File.ReadAllText(_folder["outside/canary"]));
    }

    [Fact]
    public void Keeps_a_snapshot_in_one_file_and_refuses_what_is_none()
    {
        File.WriteAllBytes(_folder["memory"], new byte[8192]);
        File.WriteAllText(_folder["state"], "device state");
        using var memory = File.OpenHandle(_folder["memory"], access: FileAccess.ReadWrite);
        using (var state = File.OpenHandle(_folder["state"]))
        {
            SnapshotFile.Append(memory, state);
        }

        Assert.Equal("device state", Encoding.UTF8.GetString(SnapshotFile.ReadState(memory)));
        var length = RandomAccess.GetLength(memory);
        foreach (var cut in (long[])[0, 31, length - 1])
        {
            RandomAccess.SetLength(memory, cut);
            Assert.Equal(SnapshotFile.SnapshotInvalid, Assert.Throws<DriverException>(() => SnapshotFile.ReadState(memory)).Reason);
        }
    }

    [Fact]
    public async Task Gives_up_on_a_firecracker_that_does_not_answer_or_answers_without_end()
    {
        var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        using var mute = Listen(_folder["jail/mute"]);
        using var root = GuestRoot.Open(_folder["jail"])!;
        using var client = new FirecrackerClient(token => root.ConnectAsync("mute", token), clock);
        var asked = client.DescribeAsync(TestContext.Current.CancellationToken);
        await clock.AdvanceUntilAsync(asked, TimeSpan.FromMilliseconds(100));
        Assert.Equal(FirecrackerClient.Unavailable, (await Assert.ThrowsAsync<DriverException>(() => asked)).Reason);

        using var endless = Listen(_folder["jail/endless"]);
        using var other = new FirecrackerClient(token => root.ConnectAsync("endless", token), RealClock.Instance);
        var answer = other.DescribeAsync(TestContext.Current.CancellationToken);
        using var accepted = await endless.AcceptAsync(TestContext.Current.CancellationToken);
        await accepted.SendAsync(Encoding.ASCII.GetBytes("HTTP/1.1 200 \r\nContent-Length: 100000000\r\n\r\n" + new string('x', 10_000)));
        Assert.Equal(FirecrackerClient.Unavailable, (await Assert.ThrowsAsync<DriverException>(() => answer)).Reason);
    }

    [Theory]
    [InlineData("OK 1073741824\nframes", true)]
    [InlineData("", false)]
    [InlineData("NO\n", false)]
    [InlineData("OK 11111111111111111111111111111111111111", false)]
    public async Task Opens_the_channel_by_its_handshake(string answer, bool opens)
    {
        using var listening = Listen(_folder["jail/vsock"]);
        using var root = GuestRoot.Open(_folder["jail"])!;
        await using var stream = await root.ConnectAsync("vsock", TestContext.Current.CancellationToken);
        using (var guest = await listening.AcceptAsync(TestContext.Current.CancellationToken))
        {
            await guest.SendAsync(Encoding.ASCII.GetBytes(answer));
            guest.Shutdown(SocketShutdown.Send);
            var handshake = VsockHandshake.PerformAsync(stream, 1024, TestContext.Current.CancellationToken);
            if (!opens)
            {
                Assert.Equal("ChannelRefused", (await Assert.ThrowsAsync<DriverException>(() => handshake)).Reason);
                return;
            }

            await handshake;
            var asked = new byte[64];
            Assert.Equal("CONNECT 1024\n", Encoding.ASCII.GetString(asked, 0, await guest.ReceiveAsync(asked)));
            Assert.Equal("frames", await new StreamReader(stream).ReadToEndAsync(TestContext.Current.CancellationToken));
        }
    }

    private static Socket Listen(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen(16);
        return socket;
    }
}
