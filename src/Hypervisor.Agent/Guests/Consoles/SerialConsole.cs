using System.Net.Sockets;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Consoles;

/// <summary>One guest's serial console: many read it, and who may write to it is decided above (<c>ConsoleWriters</c>). It is let go of with its last reader.</summary>
internal sealed class SerialConsole(string socketPath, string log, TimeProvider time) : IAsyncDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<Reader> _readers = [];
    private Socket? _socket;
    private Task _reading = Task.CompletedTask;
    private bool _ended;

    /// <returns>Null when it has ended.</returns>
    /// <exception cref="DriverException">ConsoleUnavailable, TooManyStreams.</exception>
    public async Task<IInstanceProcess?> AttachAsync(Action ended, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            if (_ended)
            {
                return null;
            }

            if (_readers.Count >= ConsoleLimits.Readers)
            {
                throw new DriverException("TooManyStreams", $"the console has {ConsoleLimits.Readers} readers already; close some", permanent: false);
            }

            _socket ??= await ConnectAsync(cancellationToken);
            var reader = new Reader(this, ended);
            lock (_readers)
            {
                // What arrives from now on comes after the scroll-back; some of it may already be the last of that.
                reader.Add(ScrollBack());
                _readers.Add(reader);
            }

            if (_readers.Count == 1)
            {
                _reading = ReadAsync(_socket);
            }

            return reader;
        }
        finally
        {
            _gate.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _socket?.Dispose();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        End();
    }

    private async Task<Socket> ConnectAsync(CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(ConsoleLimits.Connect, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(socketPath), linked.Token);
            return socket;
        }
        catch (Exception failure) when (failure is SocketException || (failure is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            socket.Dispose();
            throw new DriverException("ConsoleUnavailable", $"the serial console does not answer: {failure.Message}", permanent: false, failure);
        }
    }

    private byte[] ScrollBack()
    {
        try
        {
            using var file = File.OpenHandle(log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var length = RandomAccess.GetLength(file);
            var bytes = new byte[(int)Math.Min(length, ConsoleLimits.ScrollBackBytes)];
            return bytes[..RandomAccess.Read(file, bytes, length - bytes.Length)];
        }
        catch (FileNotFoundException)
        {
            return [];
        }
    }

    private async Task ReadAsync(Socket socket)
    {
        var buffer = new byte[ConsoleLimits.ChunkBytes];
        try
        {
            while (await socket.ReceiveAsync(buffer, SocketFlags.None) is > 0 and var read)
            {
                lock (_readers)
                {
                    _readers.ForEach(reader => reader.Add(buffer.AsSpan(0, read)));
                }
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            // As after its end: the guest is gone, or its last reader.
        }

        End();
    }

    private void End()
    {
        lock (_readers)
        {
            _ended = true;
            _readers.ForEach(reader => reader.End());
        }
    }

    private void Leave(Reader reader, Action ended)
    {
        lock (_readers)
        {
            _readers.Remove(reader);
            if (_readers.Count > 0)
            {
                return;
            }

            _ended = true;
        }

        ended();
        _socket?.Dispose();
    }

    private async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        try
        {
            while (!data.IsEmpty && _socket is { } socket)
            {
                data = data[await socket.SendAsync(data, SocketFlags.None, cancellationToken)..];
            }
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            throw new DriverException("NotRunning", "the guest has ended", permanent: false, failure);
        }
    }

    /// <summary>Keeps the last of what its client was too slow for.</summary>
    private sealed class Reader(SerialConsole console, Action ended) : IInstanceProcess
    {
        private readonly Lock _gate = new();
        private readonly Broadcast _changed = new();
        private readonly byte[] _ring = new byte[ConsoleLimits.ReaderBytes];
        private long _written;
        private long _read;
        private long _lost;
        private bool _over;

        public void Add(ReadOnlySpan<byte> data)
        {
            lock (_gate)
            {
                foreach (var value in data)
                {
                    _ring[_written++ % _ring.Length] = value;
                }

                var surplus = _written - _read - _ring.Length;
                if (surplus > 0)
                {
                    (_read, _lost) = (_read + surplus, _lost + surplus);
                }
            }

            _changed.Set();
        }

        public void End()
        {
            lock (_gate)
            {
                _over = true;
            }

            _changed.Set();
        }

        public bool IsTerminal => true;

        public long TakeLost() => Interlocked.Exchange(ref _lost, 0);

        public async ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            if (stream == LogStream.Stderr)
            {
                return 0;
            }

            while (true)
            {
                var changed = _changed.Next;
                lock (_gate)
                {
                    var count = (int)Math.Min(buffer.Length, _written - _read);
                    for (var at = 0; at < count; at++)
                    {
                        buffer.Span[at] = _ring[_read++ % _ring.Length];
                    }

                    if (count > 0 || _over)
                    {
                        return count;
                    }
                }

                await changed.WaitAsync(cancellationToken);
            }
        }

        public ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => console.WriteAsync(data, cancellationToken);

        public Task CloseInputAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        /// <summary>A serial line has no size.</summary>
        public Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken) => Task.CompletedTask;

        public Task SignalAsync(int signal, CancellationToken cancellationToken) => Task.CompletedTask;

        public async Task<ExitStatus> ExitAsync(CancellationToken cancellationToken)
        {
            while (true)
            {
                var changed = _changed.Next;
                lock (_gate)
                {
                    if (_over)
                    {
                        return new ExitStatus();
                    }
                }

                await changed.WaitAsync(cancellationToken);
            }
        }

        public ValueTask DisposeAsync()
        {
            console.Leave(this, ended);
            End();
            return ValueTask.CompletedTask;
        }
    }
}
