using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Streams;

/// <summary>Who writes to which console: the first attachment that wrote, until it leaves. Two people's keys would make one line of neither.</summary>
internal sealed class ConsoleWriters
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Seat> _writers = new(StringComparer.Ordinal);

    /// <summary>One attachment; disposing it makes room for another to write.</summary>
    public Seat Enter(InstanceId id) => new(this, id.Value);

    internal sealed class Seat(ConsoleWriters writers, string id) : IDisposable
    {
        /// <exception cref="DriverException">ConsoleInUse.</exception>
        public void Write()
        {
            if (!TryWrite())
            {
                throw new DriverException("ConsoleInUse", "somebody else writes to its console; you can read along, and write once they have left", permanent: false);
            }
        }

        /// <returns>Whether this attachment is the one that writes.</returns>
        public bool TryWrite()
        {
            lock (writers._gate)
            {
                return writers._writers.TryAdd(id, this) || writers._writers[id] == this;
            }
        }

        /// <summary>Nobody writes, or this attachment does.</summary>
        public bool MayResize
        {
            get
            {
                lock (writers._gate)
                {
                    return !writers._writers.TryGetValue(id, out var writer) || writer == this;
                }
            }
        }

        public void Dispose()
        {
            lock (writers._gate)
            {
                if (writers._writers.TryGetValue(id, out var writer) && writer == this)
                {
                    writers._writers.Remove(id);
                }
            }
        }
    }
}
