using System.Net.Sockets;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Consoles;

/// <summary>A connection to a monitor's display: bytes of RFB, which nobody here looks at.</summary>
internal sealed class VncConnection : IInstanceProcess
{
    private readonly Socket _socket;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private VncConnection(Socket socket) => _socket = socket;

    /// <exception cref="DriverException">DisplayUnavailable.</exception>
    public static async Task<VncConnection> OpenAsync(string path, TimeProvider time, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(ConsoleLimits.Connect, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), linked.Token);
            return new VncConnection(socket);
        }
        catch (Exception failure) when (failure is SocketException || (failure is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            socket.Dispose();
            throw new DriverException("DisplayUnavailable", $"the display does not answer: {failure.Message}", permanent: false, failure);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public async ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (stream == LogStream.Stderr)
        {
            return 0;
        }

        var read = 0;
        try
        {
            read = await _socket.ReceiveAsync(buffer, SocketFlags.None, cancellationToken);
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            // The guest is gone: as the end.
        }

        if (read == 0)
        {
            _ended.TrySetResult();
        }

        return read;
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        try
        {
            while (!data.IsEmpty)
            {
                data = data[await _socket.SendAsync(data, SocketFlags.None, cancellationToken)..];
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            throw new DriverException("NotRunning", "the guest has ended", permanent: false, failure);
        }
    }

    public Task CloseInputAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken) => Task.CompletedTask;

    public Task SignalAsync(int signal, CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task<ExitStatus> ExitAsync(CancellationToken cancellationToken)
    {
        await _ended.Task.WaitAsync(cancellationToken);
        return new ExitStatus();
    }

    public ValueTask DisposeAsync()
    {
        _socket.Dispose();
        _ended.TrySetResult();
        return ValueTask.CompletedTask;
    }
}
