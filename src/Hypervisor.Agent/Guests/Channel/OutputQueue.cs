using Hypervisor.Agent.Logs;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>What a process in a guest wrote and nobody has read yet: never more than it has credit for.</summary>
internal sealed class OutputQueue
{
    private readonly Lock _gate = new();
    private readonly Broadcast _changed = new();
    private readonly Queue<ReadOnlyMemory<byte>> _parts = new();
    private int _held;
    private int _taken;
    private bool _ended;

    /// <returns>False when the guest sends more than it may.</returns>
    public bool Add(ReadOnlyMemory<byte> data)
    {
        lock (_gate)
        {
            if (data.IsEmpty)
            {
                _ended = true;
            }
            else if (_ended || data.Length > ChannelLimits.CreditBytes - _held)
            {
                return false;
            }
            else
            {
                _parts.Enqueue(data.ToArray());
                _held += data.Length;
            }
        }

        _changed.Set();
        return true;
    }

    public void End()
    {
        lock (_gate)
        {
            _ended = true;
        }

        _changed.Set();
    }

    /// <summary>0 at the end.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            var changed = _changed.Next;
            lock (_gate)
            {
                var read = 0;
                while (read < buffer.Length && _parts.TryPeek(out var part))
                {
                    var length = Math.Min(part.Length - _taken, buffer.Length - read);
                    part.Slice(_taken, length).CopyTo(buffer[read..]);
                    read += length;
                    _taken += length;
                    if (_taken == part.Length)
                    {
                        _parts.Dequeue();
                        _taken = 0;
                    }
                }

                _held -= read;
                if (read > 0 || _ended)
                {
                    return read;
                }
            }

            await changed.WaitAsync(cancellationToken);
        }
    }
}
