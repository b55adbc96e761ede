using Hypervisor.Protocol;

namespace Hypervisor.Agent.Streams;

/// <summary>Counts the streams into instances, so that neither one nor all of them have too many.</summary>
internal sealed class StreamGate(int perInstance = StreamLimits.PerInstance, int perNode = StreamLimits.PerNode)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _open = new(StringComparer.Ordinal);
    private int _all;

    /// <summary>Open now.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _all;
            }
        }
    }

    /// <returns>To be disposed of at the stream's end; null when there are too many.</returns>
    public IDisposable? TryEnter(InstanceId id)
    {
        lock (_gate)
        {
            var open = _open.GetValueOrDefault(id.Value);
            if (_all >= perNode || open >= perInstance)
            {
                return null;
            }

            _all++;
            _open[id.Value] = open + 1;
            return new Place(this, id.Value);
        }
    }

    private void Leave(string id)
    {
        lock (_gate)
        {
            _all--;
            if (--_open[id] == 0)
            {
                _open.Remove(id);
            }
        }
    }

    private sealed class Place(StreamGate gate, string id) : IDisposable
    {
        private bool _left;

        public void Dispose()
        {
            if (!_left)
            {
                _left = true;
                gate.Leave(id);
            }
        }
    }
}
