using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>What a guest's init is doing.</summary>
internal enum InitState
{
    /// <summary>Waits for <see cref="GuestChannels.BeginAsync"/>.</summary>
    Held = 1,
    Runs,
    Ended,
}

/// <summary>What receives the frames of one stream. Called by the channel's reader, one frame at a time.</summary>
internal interface IChannelStream
{
    /// <returns>False when the guest broke the rules: the channel ends.</returns>
    bool Take(Frame frame);

    /// <summary>Nothing comes any more.</summary>
    void Lost();
}

/// <summary>One connection to a guest's init: greeted, and good until it breaks. What comes from it is checked; a guest that breaks the rules is cut off.</summary>
internal sealed class GuestChannel : IAsyncDisposable
{
    /// <summary>Before the path of a socket that leads to a guest's vsock (Firecracker) and not to its port.</summary>
    public const string VsockPrefix = "vsock:";

    private const int VsockPort = 1024;
    private const uint Version = 1;

    private readonly Socket _socket;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly ConcurrentDictionary<uint, IChannelStream> _streams = new();
    private readonly TaskCompletionSource _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly byte[] _nonce = new byte[16];
    private readonly TaskCompletionSource _greeted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _reading = Task.CompletedTask;
    private uint _lastStream;

    private GuestChannel(Socket socket, IRandomSource random, TimeProvider time)
    {
        (_socket, _time) = (socket, time);
        random.Fill(_nonce);
        Input = new InputCredit(0);
    }

    public InitState State { get; private set; }

    public long Run { get; private set; }

    /// <summary>When the guest's answer to the greeting was here.</summary>
    public DateTimeOffset GreetedAt { get; private set; }

    /// <summary>Of the main process's standard input.</summary>
    public InputCredit Input { get; private set; }

    public bool IsLost => _lost.Task.IsCompleted;

    /// <summary>Completes when it breaks.</summary>
    public Task Lost => _lost.Task;

    /// <summary>The guest, which held, has begun a run.</summary>
    public void NoteBegun(long run) => (State, Run) = (InitState.Runs, run);

    /// <summary>Connects and greets. The guest ends whatever an earlier connection had begun.</summary>
    /// <exception cref="DriverException">GuestNotReachable.</exception>
    public static async Task<GuestChannel> ConnectAsync(
        string socketPath, TimeSpan patience, IRandomSource random, TimeProvider time, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(patience, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var channel = new GuestChannel(socket, random, time);
        try
        {
            var vsock = socketPath.StartsWith(VsockPrefix, StringComparison.Ordinal);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(vsock ? socketPath[VsockPrefix.Length..] : socketPath), linked.Token);
            if (vsock)
            {
                await OpenVsockAsync(socket, linked.Token);
            }

            channel._reading = channel.ReadAsync();
            var hello = new byte[20];
            channel._nonce.CopyTo(hello, 0);
            BinaryPrimitives.WriteUInt32LittleEndian(hello.AsSpan(16), Version);
            await channel.SendAsync(FrameType.Hello, 0, hello, linked.Token);
            await channel._greeted.Task.WaitAsync(linked.Token);
            return channel;
        }
        catch (Exception failure)
        {
            await channel.DisposeAsync();
            if (failure is DriverException || (failure is OperationCanceledException && cancellationToken.IsCancellationRequested))
            {
                throw;
            }

            throw NotReachable(failure is OperationCanceledException ? $"it did not answer within {patience.TotalSeconds} s" : failure.Message, failure);
        }
    }

    /// <summary>A number for a stream, and who receives its frames.</summary>
    /// <exception cref="DriverException">TooManyStreams.</exception>
    public uint Register(IChannelStream stream)
    {
        if (_streams.Count >= 4 * ChannelLimits.Sessions)
        {
            throw new DriverException("TooManyStreams", "too much is being asked of the guest at once; try again later", permanent: false);
        }

        var number = Interlocked.Increment(ref _lastStream);
        _streams[number] = stream;
        if (IsLost)
        {
            stream.Lost();
        }

        return number;
    }

    public void Unregister(uint number) => _streams.TryRemove(number, out _);

    /// <exception cref="DriverException">GuestNotReachable.</exception>
    public Task SendAsync(FrameType type, uint stream, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken) =>
        SendAsync(stream, writer => Frame.Write(writer, type, stream, payload.Span), cancellationToken);

    /// <summary>Sends a request whose records may need several frames.</summary>
    public Task SendAsync(FrameType type, uint stream, Records records, CancellationToken cancellationToken) => SendAsync(
        stream,
        writer =>
        {
            var rest = records.Written.Span;
            for (; rest.Length > ChannelLimits.PayloadBytes; rest = rest[ChannelLimits.PayloadBytes..])
            {
                Frame.Write(writer, FrameType.Part, stream, rest[..ChannelLimits.PayloadBytes]);
            }

            Frame.Write(writer, type, stream, rest);
        },
        cancellationToken);

    /// <summary>Sends a request and waits for its one answer.</summary>
    /// <exception cref="DriverException">GuestNotReachable, or what the guest says.</exception>
    public async Task<byte[]> AskAsync(Func<uint, Task> send, TimeSpan patience, CancellationToken cancellationToken)
    {
        var answer = new AnswerStream();
        var number = Register(answer);
        using var deadline = new CancellationTokenSource(patience, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await send(number);
            return await answer.Task.WaitAsync(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw NotReachable($"it did not answer within {patience.TotalSeconds} s");
        }
        finally
        {
            Unregister(number);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        LoseAll();
        _greeted.TrySetCanceled();
    }

    internal static DriverException NotReachable(string why, Exception? inner = null) =>
        new("GuestNotReachable", $"the guest's init cannot be reached: {why}", permanent: false, inner);

    private async Task SendAsync(uint stream, Action<ArrayBufferWriter<byte>> write, CancellationToken cancellationToken)
    {
        var writer = new ArrayBufferWriter<byte>();
        write(writer);
        using var deadline = new CancellationTokenSource(ChannelLimits.Answer, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        await _sending.WaitAsync(linked.Token);
        try
        {
            // Not cancelled by the caller: a frame is sent whole or the connection is of no use any more.
            for (var rest = writer.WrittenMemory; rest.Length > 0;)
            {
                rest = rest[await _socket.SendAsync(rest, SocketFlags.None, deadline.Token)..];
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            _socket.Dispose();
            throw NotReachable(failure is OperationCanceledException ? "it takes nothing" : failure.Message, failure);
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task ReadAsync()
    {
        var reader = new Frame.Reader();
        var buffer = new byte[2 * ChannelLimits.PayloadBytes];
        try
        {
            while (await _socket.ReceiveAsync(buffer, SocketFlags.None) is > 0 and var read)
            {
                if (!Take(reader, buffer.AsSpan(0, read)))
                {
                    break;
                }
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // As after its end.
        }

        _socket.Dispose();
        LoseAll();
        _greeted.TrySetException(NotReachable("the connection was closed"));
    }

    private bool Take(Frame.Reader reader, ReadOnlySpan<byte> bytes)
    {
        while (reader.Next(ref bytes) is { } frame)
        {
            if (!_greeted.Task.IsCompleted)
            {
                Greet(frame);
            }
            else if (frame is { Stream: 0, Type: FrameType.CreditBack, Payload.Length: 4 })
            {
                if (!Input.Return(BinaryPrimitives.ReadInt32LittleEndian(frame.Payload.Span)))
                {
                    return false;
                }
            }
            else if (frame is { Stream: 0, Type: FrameType.Exit })
            {
                State = InitState.Ended;
            }
            else if (_streams.TryGetValue(frame.Stream, out var stream) && !stream.Take(frame))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whatever comes before the answer to our own greeting was meant for somebody else.</summary>
    private void Greet(Frame frame)
    {
        var payload = frame.Payload.Span;
        if (frame.Type != FrameType.HelloBack || payload.Length != 33 || !payload.StartsWith(_nonce))
        {
            return;
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(payload[16..]) != Version || payload[20] is < 1 or > 3
            || BinaryPrimitives.ReadInt32LittleEndian(payload[29..]) is var credit && credit is < 0 or > ChannelLimits.CreditBytes)
        {
            _greeted.TrySetException(NotReachable("it is of another version; start the instance anew"));
            return;
        }

        GreetedAt = _time.GetUtcNow();
        (State, Run, Input) = ((InitState)payload[20], BinaryPrimitives.ReadInt64LittleEndian(payload[21..]), new InputCredit(credit));
        _greeted.TrySetResult();
    }

    private void LoseAll()
    {
        _lost.TrySetResult();
        Input.Lost();
        foreach (var stream in _streams.Values)
        {
            stream.Lost();
        }
    }

    private static async Task OpenVsockAsync(Socket socket, CancellationToken cancellationToken)
    {
        await socket.SendAsync(Encoding.ASCII.GetBytes($"CONNECT {VsockPort}\n"), SocketFlags.None, cancellationToken);
        // Byte by byte: what follows the line is the guest's.
        var answer = new byte[32];
        for (var length = 0; length < answer.Length && await socket.ReceiveAsync(answer.AsMemory(length, 1), SocketFlags.None, cancellationToken) == 1; length++)
        {
            if (answer[length] == '\n' && answer.AsSpan().StartsWith("OK "u8))
            {
                return;
            }
        }

        throw NotReachable("nothing listens in it yet");
    }

    private sealed class AnswerStream : IChannelStream
    {
        private readonly TaskCompletionSource<byte[]> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<byte[]> Task => _answer.Task;

        public bool Take(Frame frame)
        {
            if (frame.Type != FrameType.Answer || frame.Payload.Length < 5)
            {
                return false;
            }

            if (GuestAnswer.FailureOf(frame.Payload.Span) is { } failure)
            {
                _answer.TrySetException(failure);
            }
            else
            {
                _answer.TrySetResult(frame.Payload[5..].ToArray());
            }

            return true;
        }

        public void Lost() => _answer.TrySetException(NotReachable("the connection was closed"));
    }
}

/// <summary>How an ANSWER reads.</summary>
internal static class GuestAnswer
{
    public static DriverException? FailureOf(ReadOnlySpan<byte> answer) => answer[0] switch
    {
        0 => null,
        byte.MaxValue => new DriverException("GuestRefused", $"the guest refused: {StartFailures.Printable(answer[5..])}", permanent: false),
        var reason => new DriverException(StartFailures.NameOf(reason)!, StartFailures.Printable(answer[5..]), permanent: true),
    };
}
