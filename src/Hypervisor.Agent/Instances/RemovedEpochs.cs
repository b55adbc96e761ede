using Hypervisor.Protocol;

namespace Hypervisor.Agent.Instances;

/// <summary>The epochs up to which instances were removed here, so that an assignment that arrives late brings none of them back.</summary>
/// <remarks>Bounded: the oldest is forgotten first. Used by the assignment loop alone.</remarks>
internal sealed class RemovedEpochs(int capacity)
{
    private readonly Dictionary<string, Epoch> _epochs = new(StringComparer.Ordinal);
    private readonly Queue<string> _order = new();

    /// <summary>None when nothing is remembered.</summary>
    public Epoch Of(string uid) => _epochs.GetValueOrDefault(uid);

    public void Add(string uid, Epoch epoch)
    {
        if (_epochs.TryGetValue(uid, out var known))
        {
            _epochs[uid] = epoch > known ? epoch : known;
            return;
        }

        if (_order.Count == capacity)
        {
            _epochs.Remove(_order.Dequeue());
        }

        _epochs.Add(uid, epoch);
        _order.Enqueue(uid);
    }
}
