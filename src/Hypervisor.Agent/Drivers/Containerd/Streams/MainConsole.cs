using Containerd.Services.Tasks.V1;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol.V1;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Containerd.Streams;

/// <summary>
/// The main process of a container: its output from the shim's files, from where they end when it is attached, and its input pipe.
/// </summary>
/// <remarks>
/// A reader that is slower than the log loses the part that was given back meanwhile, and is told how much. The shim holds the input
/// pipe open too, so neither the end of an attachment nor of the agent is an end of file to the process.
/// </remarks>
internal sealed class MainConsole : IInstanceProcess
{
    private readonly ContainerdClient _client;
    private readonly string _id;
    private readonly InstanceLog _log;
    private readonly long _run;
    private readonly RunSettings _settings;
    private readonly SafeFileHandle?[] _files;
    private readonly long[] _offsets;
    private Stream? _input;
    private long _lost;

    /// <param name="inputPath">Of its pipe; opened when the process has standard input.</param>
    public MainConsole(ContainerdClient client, string id, InstanceLog log, long run, RunSettings settings, string inputPath)
    {
        (_client, _id, _log, _run, _settings) = (client, id, log, run, settings);
        _files = [log.Raw.Open(id, run, LogStream.Stdout), log.Raw.Open(id, run, LogStream.Stderr)];
        _offsets = [.. _files.Select(file => file is null ? 0 : RandomAccess.GetLength(file))];
        _input = settings.Stdin ? Pipes.OpenForWriting(inputPath) : null;
    }

    public long TakeLost() => Interlocked.Exchange(ref _lost, 0);

    public async ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var index = stream == LogStream.Stderr ? 1 : 0;
        if (_files[index] is not { } file)
        {
            return 0;
        }

        while (true)
        {
            var changed = _log.Changed.Next;
            var ended = _log.CurrentRun != _run;
            var read = RandomAccess.Read(file, buffer.Span, _offsets[index]);
            var freed = _log.Freed(_run, stream);
            if (freed > _offsets[index])
            {
                // What was read may be the zeros of a hole.
                Interlocked.Add(ref _lost, freed - _offsets[index]);
                _offsets[index] = freed;
                continue;
            }

            _offsets[index] += read;
            if (read > 0 || ended)
            {
                return read;
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        if (_input is null)
        {
            throw new DriverException("NoStdin", "the process has no standard input; create the instance with spec.process.stdin", permanent: true);
        }

        await _input.WriteAsync(data, cancellationToken);
    }

    public async Task CloseInputAsync(CancellationToken cancellationToken)
    {
        if (_input is not null)
        {
            await _input.DisposeAsync();
            _input = null;
            await _client.Tasks.CloseIOAsync(new CloseIORequest { ContainerId = _id, Stdin = true }, _client.Call(cancellationToken));
        }
    }

    public async Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken)
    {
        if (_settings.Terminal)
        {
            await _client.Tasks.ResizePtyAsync(
                new ResizePtyRequest { ContainerId = _id, Width = (uint)size.Columns, Height = (uint)size.Rows }, _client.Call(cancellationToken));
        }
    }

    public Task SignalAsync(int signal, CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task<ExitStatus> ExitAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var changed = _log.Changed.Next;
            if (_log.CurrentRun != _run)
            {
                return new ExitStatus();
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var file in _files)
        {
            file?.Dispose();
        }

        if (_input is not null)
        {
            await _input.DisposeAsync();
        }
    }
}
