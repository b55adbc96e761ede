using System.Buffers;
using System.Net.WebSockets;
using System.Text;
using System.Threading.Channels;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Rest.Requests;

namespace Hypervisor.Server.Rest.Sockets;

/// <summary>The frames of one WebSocket as the two halves of a gRPC stream.</summary>
/// <remarks>
/// One frame of input waits at most: a process that does not read holds back the client. An answer returns when the socket has taken
/// it: a client that does not read holds back the process. Nothing is received with a cancellation of its own, since that would
/// end the socket; the reader goes on until the client's close.
/// </remarks>
/// <param name="ending">Cancelled when the client closes, breaks off or does not keep to the protocol: that ends the process.</param>
internal sealed class SocketFrames(WebSocket socket, CancellationTokenSource ending, TimeProvider time) : IDisposable
{
    private readonly Channel<(ByteString? Input, SocketControl? Control)> _received =
        Channel.CreateBounded<(ByteString? Input, SocketControl? Control)>(new BoundedChannelOptions(1) { SingleReader = true, SingleWriter = true });

    private readonly byte[] _frame = ArrayPool<byte>.Shared.Rent(Limits.Sockets.InputBytes + 1);
    private bool _ended;

    /// <summary>How the client broke the protocol.</summary>
    public RpcException? Violation { get; private set; }

    /// <summary>Until the client closes or is gone.</summary>
    public async Task ReadAsync()
    {
        try
        {
            while (await ReceiveAsync() is { } message)
            {
                if (!_ended)
                {
                    await PassOnAsync(message);
                }
            }
        }
        catch (RpcException violation)
        {
            Violation = violation;
        }
        catch (Exception gone) when (gone is WebSocketException or OperationCanceledException or IOException)
        {
            // Without a close, or it did not take what was sent: the same as a close.
        }
        finally
        {
            await ending.CancelAsync();
        }
    }

    public IAsyncStreamReader<T> Requests<T>(T first, Func<ByteString?, SocketControl?, T> make)
        where T : class => new Reader<T>(this, first, make);

    public IServerStreamWriter<T> Answers<T>(Func<T, IEnumerable<(byte Channel, ByteString Data, SocketNotice? Notice)>> split) =>
        new Writer<T>(this, split);

    /// <summary>Says why, when there is a reason, and closes.</summary>
    /// <param name="reading">What <see cref="ReadAsync"/> returned.</param>
    public async Task EndAsync(RpcException? failure, Task reading)
    {
        _ended = true;
        _received.Writer.TryComplete();
        using var farewell = new CancellationTokenSource(Limits.Sockets.Farewell, time);
        try
        {
            if (socket.State == WebSocketState.CloseReceived)
            {
                // It asked for the end.
                failure = null;
            }

            if (failure is not null && socket.State == WebSocketState.Open)
            {
                await SendTextAsync(RestErrors.Line(RestErrors.StatusOf(failure)).TrimEnd('\n'), farewell.Token);
            }

            if (socket.State is WebSocketState.Open or WebSocketState.CloseReceived)
            {
                await socket.CloseOutputAsync(CloseCode(failure), Reason(failure), farewell.Token);
            }

            await reading.WaitAsync(farewell.Token);
            await DiscardAsync(farewell.Token);
        }
        catch (Exception gone) when (gone is WebSocketException or OperationCanceledException or IOException)
        {
            socket.Abort();
            await reading;
        }
    }

    /// <summary>
    /// A reader that stopped at a violation left the rest unread. A connection that is closed over what was not read is reset, and the client might
    /// never see what it was told.
    /// </summary>
    private async Task DiscardAsync(CancellationToken cancellationToken)
    {
        while (socket.State == WebSocketState.CloseSent)
        {
            await socket.ReceiveAsync(_frame.AsMemory(), cancellationToken);
        }
    }

    public void Dispose() => ArrayPool<byte>.Shared.Return(_frame);

    private async Task PassOnAsync((ByteString? Input, SocketControl? Control) message)
    {
        try
        {
            await _received.Writer.WriteAsync(message, ending.Token);
        }
        catch (ChannelClosedException)
        {
            // The process ended meanwhile; what comes until the close is nobody's.
        }
    }

    private static WebSocketCloseStatus CloseCode(RpcException? failure) => failure switch
    {
        null => WebSocketCloseStatus.NormalClosure,
        { StatusCode: StatusCode.OutOfRange } => WebSocketCloseStatus.MessageTooBig,
        _ => (WebSocketCloseStatus)(SocketRoutes.ErrorCodes + (int)failure.StatusCode),
    };

    /// <summary>RFC 6455, 5.5.1: a close has room for 123 bytes of it. The frame before has all of it.</summary>
    private static string Reason(RpcException? failure)
    {
        var text = failure?.Status.Detail ?? "";
        while (Encoding.UTF8.GetByteCount(text) > 123)
        {
            text = text[..^(char.IsLowSurrogate(text[^1]) ? 2 : 1)];
        }

        return text;
    }

    /// <returns>Null when the client closes.</returns>
    /// <exception cref="RpcException">OUT_OF_RANGE for what is too long, INVALID_ARGUMENT for what means nothing.</exception>
    private async Task<(ByteString? Input, SocketControl? Control)?> ReceiveAsync()
    {
        var length = 0;
        while (true)
        {
            var part = await socket.ReceiveAsync(_frame.AsMemory(length, Limits.Sockets.InputBytes + 1 - length), CancellationToken.None);
            if (part.MessageType == WebSocketMessageType.Close)
            {
                return null;
            }

            length += part.Count;
            var most = part.MessageType == WebSocketMessageType.Text ? Limits.Sockets.ControlBytes : Limits.Sockets.InputBytes + 1;
            if (length > most || (length == most && !part.EndOfMessage))
            {
                var kind = part.MessageType == WebSocketMessageType.Text ? "text" : "binary";
                throw ApiErrors.OutOfRange("FRAME_TOO_LARGE", $"A {kind} message of more than {most} bytes; send less at once.");
            }

            if (part.EndOfMessage)
            {
                return part.MessageType == WebSocketMessageType.Text ? (null, Control(length)) : (Input(length), null);
            }
        }
    }

    private ByteString Input(int length) => length > 0 && _frame[0] == SocketRoutes.Input
        ? ByteString.CopyFrom(_frame, 1, length - 1)
        : throw ApiErrors.InvalidArgument("", $"A binary message begins with its channel; clients have only {SocketRoutes.Input}, the standard input.");

    private SocketControl Control(int length)
    {
        try
        {
            return ProtoJson.Parser.Parse<SocketControl>(Encoding.UTF8.GetString(_frame, 0, length));
        }
        catch (Exception exception) when (BodyDiagnosis.IsRefusal(exception))
        {
            throw ApiErrors.InvalidArgument("", $"A text message is no SocketControl: {exception.Message}");
        }
    }

    private ValueTask SendTextAsync(string text, CancellationToken cancellationToken) =>
        socket.SendAsync(Encoding.UTF8.GetBytes(text).AsMemory(), WebSocketMessageType.Text, endOfMessage: true, cancellationToken);

    private ValueTask SendAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken) =>
        socket.SendAsync(frame, WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);

    private Task EndEarlyAsync() => ending.CancelAsync();

    private sealed class Reader<T>(SocketFrames frames, T first, Func<ByteString?, SocketControl?, T> make) : IAsyncStreamReader<T>
        where T : class
    {
        private bool _begun;

        public T Current { get; private set; } = first;

        public async Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            if (!_begun)
            {
                return _begun = true;
            }

            var (input, control) = await frames._received.Reader.ReadAsync(cancellationToken);
            try
            {
                Current = make(input, control);
                return true;
            }
            catch (RpcException violation)
            {
                frames.Violation = violation;
                await frames.EndEarlyAsync();
                throw;
            }
        }
    }

    private sealed class Writer<T>(SocketFrames frames, Func<T, IEnumerable<(byte Channel, ByteString Data, SocketNotice? Notice)>> split)
        : IServerStreamWriter<T>
    {
        public WriteOptions? WriteOptions { get; set; }

        public Task WriteAsync(T message) => WriteAsync(message, CancellationToken.None);

        public async Task WriteAsync(T message, CancellationToken cancellationToken)
        {
            foreach (var (channel, data, notice) in split(message))
            {
                if (!data.IsEmpty)
                {
                    var frame = ArrayPool<byte>.Shared.Rent(data.Length + 1);
                    frame[0] = channel;
                    data.Span.CopyTo(frame.AsSpan(1));
                    try
                    {
                        await frames.SendAsync(frame.AsMemory(0, data.Length + 1), cancellationToken);
                    }
                    finally
                    {
                        ArrayPool<byte>.Shared.Return(frame);
                    }
                }

                if (notice is not null)
                {
                    await frames.SendTextAsync(ProtoJson.Text(notice), cancellationToken);
                }
            }
        }
    }
}
