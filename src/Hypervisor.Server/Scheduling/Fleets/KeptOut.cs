namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>Rows that a request must not be given, whatever room they have.</summary>
internal sealed class KeptOut
{
    private readonly List<NeighbourCounter> _counters = [];

    public bool IsEmpty => _counters.Count == 0;

    public void Clear() => _counters.Clear();

    public void Add(NeighbourCounter counter) => _counters.Add(counter);

    public bool Contains(int row)
    {
        foreach (var counter in _counters)
        {
            if (counter.In(row) > 0)
            {
                return true;
            }
        }

        return false;
    }
}
