using System.Net.Sockets;
using System.Text;

namespace Hypervisor.Tests.Agent.Guests.Consoles;

/// <summary>A monitor's socket with one client at a time, and the file that it appends what it writes to.</summary>
internal sealed class FakeMonitor : IDisposable
{
    private readonly ScratchFolder _folder = new();
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private Socket? _client;

    public FakeMonitor()
    {
        _listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        _listener.Listen(1);
    }

    public string SocketPath => _folder["socket"];

    public string Log => _folder["console.log"];

    public async Task AcceptAsync(CancellationToken cancellationToken)
    {
        _client?.Dispose();
        _client = await _listener.AcceptAsync(cancellationToken);
    }

    public async Task WriteAsync(string text, CancellationToken cancellationToken)
    {
        await File.AppendAllTextAsync(Log, text, cancellationToken);
        await _client!.SendAsync(Encoding.UTF8.GetBytes(text), SocketFlags.None, cancellationToken);
    }

    public async Task<string> ReadAsync(CancellationToken cancellationToken)
    {
        var buffer = new byte[4096];
        return Encoding.UTF8.GetString(buffer, 0, await _client!.ReceiveAsync(buffer, SocketFlags.None, cancellationToken));
    }

    /// <summary>The guest is gone.</summary>
    public void End() => _client?.Dispose();

    public void Dispose()
    {
        _client?.Dispose();
        _listener.Dispose();
        _folder.Dispose();
    }
}
