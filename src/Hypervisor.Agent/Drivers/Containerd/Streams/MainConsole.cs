using Containerd.Services.Tasks.V1;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd.Streams;

/// <summary>
/// The main process of a container: its output from the shim's files, with the last of what is in them already, and its input pipe.
/// </summary>
/// <remarks>
/// The shim holds the input pipe open too, so neither the end of an attachment nor of the agent is an end of file to the process.
/// </remarks>
internal sealed class MainConsole : IInstanceProcess
{
    private readonly ContainerdClient _client;
    private readonly string _id;
    private readonly RunSettings _settings;
    private readonly RawFollower _output;
    private Stream? _input;

    /// <param name="inputPath">Of its pipe; opened when the process has standard input.</param>
    public MainConsole(ContainerdClient client, string id, InstanceLog log, long run, RunSettings settings, string inputPath)
    {
        (_client, _id, _settings) = (client, id, settings);
        _output = new RawFollower(log, id, run);
        _input = settings.Stdin ? Pipes.OpenForWriting(inputPath) : null;
    }

    public bool TakesInput => _settings.Stdin;

    public bool IsTerminal => _settings.Terminal;

    public long TakeLost() => _output.TakeLost();

    public ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken) =>
        _output.ReadAsync(stream, buffer, cancellationToken);

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
        await _output.EndAsync(cancellationToken);
        return new ExitStatus();
    }

    public async ValueTask DisposeAsync()
    {
        _output.Dispose();
        if (_input is not null)
        {
            await _input.DisposeAsync();
        }
    }
}
