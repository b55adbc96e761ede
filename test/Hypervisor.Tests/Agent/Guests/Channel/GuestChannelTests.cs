using System.Buffers;
using System.Net.Sockets;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Channel;

/// <summary>Protects: an init that is played by the enemy harms nothing but its own guest, and never makes the agent wait or hold more than it may.</summary>
public sealed class GuestChannelTests : IDisposable
{
    private readonly ScratchFolder _folder = new();
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public GuestChannelTests()
    {
        _listener.Bind(new UnixDomainSocketEndPoint(_folder["channel"]));
        _listener.Listen();
    }

    public void Dispose()
    {
        _listener.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task What_was_meant_for_an_earlier_agent_is_passed_over()
    {
        using var guest = await AcceptAsync(out var connecting);
        var hello = await guest.ReadAsync();
        await guest.SendAsync([1, 2, 3, 0x7E]);
        await guest.SendAsync(FrameType.HelloBack, 0, Hello(new byte[16]));
        await guest.SendAsync(FrameType.Output, 1, [1]);
        await guest.SendAsync(FrameType.HelloBack, 0, Hello(hello.Payload[..16]));
        await using var channel = await connecting;
        Assert.Equal((InitState.Runs, 5), (channel.State, channel.Run));
    }

    [Fact]
    public async Task Another_version_is_said()
    {
        using var guest = await AcceptAsync(out var connecting);
        var answer = Hello((await guest.ReadAsync()).Payload[..16]);
        answer[16] = 2;
        await guest.SendAsync(FrameType.HelloBack, 0, answer);
        Assert.Contains("version", (await Assert.ThrowsAsync<DriverException>(() => connecting)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_guest_that_never_answers_is_given_up()
    {
        using var guest = await AcceptAsync(out var connecting, TimeSpan.FromMilliseconds(100));
        Assert.Equal("GuestNotReachable", (await Assert.ThrowsAsync<DriverException>(() => connecting)).Reason);
    }

    [Fact]
    public async Task More_output_than_there_is_credit_for_ends_the_connection()
    {
        var (guest, channel, exec) = await StartAsync();
        for (var sent = 0; sent <= ChannelLimits.CreditBytes; sent += ChannelLimits.PayloadBytes)
        {
            await guest.SendAsync(FrameType.Output, 1, new byte[ChannelLimits.PayloadBytes]);
        }

        await channel.Lost.WaitAsync(TimeSpan.FromSeconds(10), RealClock.Instance, TestContext.Current.CancellationToken);
        Assert.Equal(137, (await exec.ExitAsync(TestContext.Current.CancellationToken)).Code);
        guest.Dispose();
    }

    [Fact]
    public async Task What_is_read_is_credited_and_what_is_written_waits_for_credit()
    {
        var (guest, channel, exec) = await StartAsync();
        await guest.SendAsync(FrameType.Output, 1, "hello"u8.ToArray());
        var buffer = new byte[3];
        Assert.Equal(3, await exec.ReadAsync(LogStream.Stdout, buffer, TestContext.Current.CancellationToken));
        Assert.Equal((FrameType.Credit, new byte[] { 1, 3, 0, 0, 0 }), await guest.ReadAsync() is var credit ? (credit.Type, credit.Payload) : default);
        var writing = exec.WriteAsync(new byte[ChannelLimits.CreditBytes + 1], TestContext.Current.CancellationToken).AsTask();
        for (var taken = 0; taken < ChannelLimits.CreditBytes;)
        {
            taken += (await guest.ReadAsync()).Payload.Length;
        }

        Assert.False(writing.IsCompleted);
        await guest.SendAsync(FrameType.CreditBack, 1, [1, 0, 0, 0]);
        Assert.Single((await guest.ReadAsync()).Payload);
        await writing;
        await channel.DisposeAsync();
        guest.Dispose();
    }

    [Fact]
    public async Task The_reason_for_which_nothing_starts_is_the_guests_and_printable()
    {
        var (guest, channel, starting) = await AskToStartAsync();
        await guest.SendAsync(FrameType.Answer, 1, [1, 0, 0, 0, 0, .. "gone\u001b["u8]);
        var failure = await Assert.ThrowsAsync<DriverException>(() => starting);
        Assert.Equal(("CommandNotFound", "gone?["), (failure.Reason, failure.Message));
        await channel.DisposeAsync();
        guest.Dispose();
    }

    [Fact]
    public void Files_that_lead_elsewhere_are_refused()
    {
        var entry = GuestCopies.Render(new FileEntry { Path = "a/b", Kind = FileKind.File, Mode = 0x1A4, SizeBytes = 3 });
        Assert.Equal(("a/b", 3), GuestCopies.Parse(entry, "a/b", "") is var good ? (good.Path, good.SizeBytes) : default);
        foreach (var path in (string[])["../a", "/a", "a//b", ".", "a\0b", string.Join('/', Enumerable.Repeat("a", 300))])
        {
            Assert.Throws<DriverException>(() => GuestCopies.Parse(entry, path, ""));
        }
    }

    private Task<Peer> AcceptAsync(out Task<GuestChannel> connecting, TimeSpan? patience = null)
    {
        connecting = GuestChannel.ConnectAsync(
            _folder["channel"], patience ?? TimeSpan.FromSeconds(10), new SystemRandomSource(), RealClock.Instance, TestContext.Current.CancellationToken);
        return AcceptAsync();
    }

    private async Task<Peer> AcceptAsync() => new(await _listener.AcceptAsync(TestContext.Current.CancellationToken));

    private async Task<(Peer Guest, GuestChannel Channel, Task<GuestExec> Starting)> AskToStartAsync()
    {
        var guest = await AcceptAsync(out var connecting);
        await guest.SendAsync(FrameType.HelloBack, 0, Hello((await guest.ReadAsync()).Payload[..16]));
        var channel = await connecting;
        var starting = GuestExec.StartAsync(
            channel, Records.Of(new ExecInput { Command = { "x" } }), terminal: false, stdin: true, RealClock.Instance, TestContext.Current.CancellationToken);
        Assert.Equal(FrameType.Exec, (await guest.ReadAsync()).Type);
        return (guest, channel, starting);
    }

    private async Task<(Peer Guest, GuestChannel Channel, GuestExec Exec)> StartAsync()
    {
        var (guest, channel, starting) = await AskToStartAsync();
        await guest.SendAsync(FrameType.Answer, 1, new byte[5]);
        return (guest, channel, await starting);
    }

    private static byte[] Hello(byte[] nonce) => [.. nonce, 1, 0, 0, 0, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

    private sealed class Peer(Socket socket) : IDisposable
    {
        private readonly Frame.Reader _reader = new();
        private readonly Queue<(FrameType Type, uint Stream, byte[] Payload)> _frames = new();

        public Task SendAsync(FrameType type, uint stream, byte[] payload)
        {
            var writer = new ArrayBufferWriter<byte>();
            Frame.Write(writer, type, stream, payload);
            return SendAsync(writer.WrittenSpan.ToArray());
        }

        public async Task SendAsync(byte[] bytes)
        {
            try
            {
                await socket.SendAsync(bytes, SocketFlags.None, TestContext.Current.CancellationToken);
            }
            catch (SocketException)
            {
                // It was cut off already.
            }
        }

        public async Task<(FrameType Type, uint Stream, byte[] Payload)> ReadAsync()
        {
            var buffer = new byte[65536];
            while (_frames.Count == 0)
            {
                var read = await socket.ReceiveAsync(buffer, SocketFlags.None, TestContext.Current.CancellationToken);
                Assert.NotEqual(0, read);
                Take(buffer.AsSpan(0, read));
            }

            return _frames.Dequeue();
        }

        public void Dispose() => socket.Dispose();

        private void Take(ReadOnlySpan<byte> bytes)
        {
            while (_reader.Next(ref bytes) is { } frame)
            {
                _frames.Enqueue((frame.Type, frame.Stream, frame.Payload.ToArray()));
            }
        }
    }
}
