using System.Threading.Channels;

namespace Hypervisor.Agent.Waiting;

/// <summary>
/// "Look again": any number of <see cref="Set"/> before a wait count as one. One waiter. Continuations run in the waiter's
/// synchronization context, never inside <see cref="Set"/>.
/// </summary>
internal sealed class Signal
{
    private readonly Channel<bool> _channel = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });

    public void Set() => _channel.Writer.TryWrite(true);

    public async Task WaitAsync(CancellationToken cancellationToken) => await _channel.Reader.ReadAsync(cancellationToken);
}
