using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Hypervisor.FirecrackerStandIn.Guests;

namespace Hypervisor.FirecrackerStandIn;

/// <summary>
/// The host's side of a vsock: "CONNECT port\n", "OK number\n", then a stream. Behind it is no vsock but what the guest has instead; one
/// connection at a time, since that cannot tell several apart.
/// </summary>
internal sealed class VsockProxy : IDisposable
{
    private const int LineBytes = 32;

    private readonly string _path;
    private readonly IGuest _guest;
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _stopping = new();

    /// <exception cref="FaultException">The path cannot be bound.</exception>
    public VsockProxy(string path, IGuest guest)
    {
        (_path, _guest) = (path, guest);
        try
        {
            _socket.Bind(new UnixDomainSocketEndPoint(path));
            _socket.Listen(8);
        }
        catch (Exception error) when (error is SocketException or ArgumentException)
        {
            _socket.Dispose();
            throw new FaultException($"Cannot create backend for vsock device: Error binding to the host-side Unix socket: {error.Message}");
        }

        _ = AcceptAsync();
    }

    public void Dispose()
    {
        _stopping.Cancel();
        _socket.Dispose();
        File.Delete(_path);
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                using var client = await _socket.AcceptAsync(_stopping.Token);
                await ServeAsync(client);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The end of the machine.
        }
    }

    private async Task ServeAsync(Socket client)
    {
        try
        {
            await using var host = new NetworkStream(client);
            if (await ReadLineAsync(host) is not { } line
                || !line.StartsWith("CONNECT ", StringComparison.Ordinal)
                || !int.TryParse(line["CONNECT ".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out var port)
                || await _guest.ConnectAsync(port) is not { } guest)
            {
                return;
            }

            await using (guest)
            {
                await host.WriteAsync(Encoding.ASCII.GetBytes("OK 1073741824\n"), _stopping.Token);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
                await Task.WhenAny(host.CopyToAsync(guest, either.Token), guest.CopyToAsync(host, either.Token));
                await either.CancelAsync();
            }
        }
        catch (IOException)
        {
            // Either side went away.
        }
    }

    private async Task<string?> ReadLineAsync(NetworkStream stream)
    {
        var line = new byte[LineBytes];
        for (var length = 0; length < LineBytes; length++)
        {
            if (await stream.ReadAsync(line.AsMemory(length, 1), _stopping.Token) == 0)
            {
                return null;
            }

            if (line[length] == '\n')
            {
                return Encoding.ASCII.GetString(line, 0, length);
            }
        }

        return null;
    }
}
