using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Logs;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>The main process of a guest with our init: its output from the files that the monitor appends to, its input by the channel.</summary>
internal sealed class GuestMain(GuestChannels channels, InstanceId id, string channelSocket, GuestConfig config, RawFollower output) : IInstanceProcess
{
    public bool TakesInput => config.Stdin;

    public bool IsTerminal => config.Terminal;

    public long TakeLost() => output.TakeLost();

    public ValueTask<int> ReadAsync(LogStream stream, Memory<byte> buffer, CancellationToken cancellationToken) =>
        output.ReadAsync(stream, buffer, cancellationToken);

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        if (!config.Stdin)
        {
            throw new DriverException("NoStdin", "the process has no standard input; create the instance with spec.process.stdin", permanent: true);
        }

        var channel = await channels.OpenAsync(id, channelSocket, cancellationToken);
        while (!data.IsEmpty)
        {
            var part = await channel.Input.TakeAsync(data.Length, cancellationToken);
            await channel.SendAsync(FrameType.Input, 0, data[..part], cancellationToken);
            data = data[part..];
        }
    }

    public async Task CloseInputAsync(CancellationToken cancellationToken)
    {
        if (config.Stdin && !config.Terminal)
        {
            var channel = await channels.OpenAsync(id, channelSocket, cancellationToken);
            await channel.SendAsync(FrameType.Input, 0, ReadOnlyMemory<byte>.Empty, cancellationToken);
        }
    }

    public async Task ResizeAsync(TerminalSize size, CancellationToken cancellationToken)
    {
        if (config.Terminal)
        {
            var channel = await channels.OpenAsync(id, channelSocket, cancellationToken);
            await channel.SendAsync(FrameType.Resize, 0, Records.Pack(size), cancellationToken);
        }
    }

    public Task SignalAsync(int signal, CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task<ExitStatus> ExitAsync(CancellationToken cancellationToken)
    {
        await output.EndAsync(cancellationToken);
        return new ExitStatus();
    }

    public ValueTask DisposeAsync()
    {
        output.Dispose();
        return ValueTask.CompletedTask;
    }
}
