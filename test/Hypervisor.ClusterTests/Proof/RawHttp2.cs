using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>A client that writes HTTP/2 frames (RFC 9113) as it likes and keeps no rule of the protocol.</summary>
internal sealed class RawHttp2 : IDisposable
{
    public const byte Data = 0;
    public const byte Headers = 1;
    public const byte ResetStream = 3;
    public const byte Settings = 4;
    public const byte Ping = 6;
    public const byte GoAway = 7;
    public const byte Continuation = 9;

    public const byte EndStream = 1;
    public const byte EndHeaders = 4;

    private readonly Socket _socket;

    private RawHttp2(Socket socket) => _socket = socket;

    /// <summary>Connected to a server, with the preface and empty settings sent.</summary>
    public static async Task<RawHttp2> ConnectAsync(string host, CancellationToken cancellationToken)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPEndPoint.Parse($"{host}:50051"), cancellationToken);
        return await BeginAsync(socket, cancellationToken);
    }

    /// <summary>Over a connection, which it owns from now on.</summary>
    public static async Task<RawHttp2> BeginAsync(Socket socket, CancellationToken cancellationToken)
    {
        var client = new RawHttp2(socket);
        byte[] preface = [.. "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8, .. Frame(Settings, 0, 0, [])];
        await client.SendAsync(preface, cancellationToken);
        return client;
    }

    public static byte[] Frame(byte type, byte flags, int stream, ReadOnlySpan<byte> payload)
    {
        var frame = new byte[9 + payload.Length];
        (frame[0], frame[1], frame[2]) = ((byte)(payload.Length >> 16), (byte)(payload.Length >> 8), (byte)payload.Length);
        (frame[3], frame[4]) = (type, flags);
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), stream);
        payload.CopyTo(frame.AsSpan(9));
        return frame;
    }

    /// <summary>The header block of a gRPC call, in literals without indexing (RFC 7541, 6.2.2).</summary>
    public static byte[] CallHeaders(string path) =>
    [
        0x83, 0x86, // :method POST, :scheme http
        .. Literal(":path", path), .. Literal(":authority", "server"),
        .. Literal("content-type", "application/grpc"), .. Literal("te", "trailers"),
    ];

    public static byte[] Literal(string name, string value) => [0, .. Text(name), .. Text(value)];

    public async Task SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (bytes.Length > 0)
        {
            bytes = bytes[await _socket.SendAsync(bytes, cancellationToken)..];
        }
    }

    /// <summary>Reads and forgets until the server ends the connection.</summary>
    public async Task DrainAsync(CancellationToken cancellationToken)
    {
        var buffer = new byte[64 * 1024];
        while (await _socket.ReceiveAsync(buffer, cancellationToken) > 0)
        {
        }
    }

    public void Dispose() => _socket.Dispose();

    /// <summary>A length of seven bits with continuation (RFC 7541, 5.1), then the text as it is.</summary>
    private static byte[] Text(string text)
    {
        var bytes = Encoding.ASCII.GetBytes(text);
        if (bytes.Length < 127)
        {
            return [(byte)bytes.Length, .. bytes];
        }

        List<byte> length = [127];
        var rest = bytes.Length - 127;
        for (; rest >= 128; rest >>= 7)
        {
            length.Add((byte)((rest & 127) | 128));
        }

        return [.. length, (byte)rest, .. bytes];
    }
}
