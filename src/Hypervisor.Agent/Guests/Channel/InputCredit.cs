using Hypervisor.Agent.Logs;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>How much may still be sent into a stream; waited for by its writers.</summary>
internal sealed class InputCredit(int bytes)
{
    private readonly Lock _gate = new();
    private readonly Broadcast _changed = new();
    private int _left = bytes;
    private bool _lost;

    /// <summary>Takes as much as there is, at most what is wanted.</summary>
    /// <exception cref="Drivers.DriverException">GuestNotReachable.</exception>
    public async ValueTask<int> TakeAsync(int wanted, CancellationToken cancellationToken)
    {
        while (true)
        {
            var changed = _changed.Next;
            lock (_gate)
            {
                if (_lost)
                {
                    throw GuestChannel.NotReachable("the connection was closed");
                }

                var taken = Math.Min(Math.Min(wanted, _left), ChannelLimits.PayloadBytes);
                if (taken > 0)
                {
                    _left -= taken;
                    return taken;
                }
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    /// <returns>False when more comes back than was ever taken.</returns>
    public bool Return(int returned)
    {
        lock (_gate)
        {
            if (returned < 0 || returned > ChannelLimits.CreditBytes - _left)
            {
                return false;
            }

            _left += returned;
        }

        _changed.Set();
        return true;
    }

    public void Lost()
    {
        lock (_gate)
        {
            _lost = true;
        }

        _changed.Set();
    }
}
