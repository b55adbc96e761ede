using Hypervisor.Server.Api.Lists;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>How many instances of a selection each place has, kept as they come and go. The fast twin of <see cref="Neighbours"/>.</summary>
/// <param name="topology">Whose places.</param>
internal sealed class NeighbourCounter(string project, LabelSelector selector, TopologyIndex topology)
{
    // Of nodes only those that have any; places of other kinds are few.
    private readonly Dictionary<int, int> _rows = [];
    private int[] _places = [];

    public TopologyIndex Topology => topology;

    /// <summary>In all places: those on nodes that are part of none are nobody's neighbours.</summary>
    public int Total { get; private set; }

    /// <summary>How many classes of requests ask it; nobody counts for none.</summary>
    public int Users { get; set; }

    /// <summary>With <see cref="TopologyIndex.IsNode"/>: the rows that have any.</summary>
    public Dictionary<int, int>.KeyCollection Rows => _rows.Keys;

    public bool Selects(InstanceKind kind) => kind.Project == project && selector.Matches(kind.Labels);

    public int In(int place) => topology.IsNode ? _rows.GetValueOrDefault(place) : place >= 0 && place < _places.Length ? _places[place] : 0;

    public void Add(int row, int change)
    {
        var place = topology.PlaceOf(row);
        if (place < 0)
        {
            return;
        }

        Total += change;
        if (!topology.IsNode)
        {
            if (place >= _places.Length)
            {
                Array.Resize(ref _places, Math.Max(place + 1, topology.Count));
            }

            _places[place] += change;
            return;
        }

        var count = _rows.GetValueOrDefault(row) + change;
        if (count == 0)
        {
            _rows.Remove(row);
        }
        else
        {
            _rows[row] = count;
        }
    }

    public void Clear()
    {
        Total = 0;
        _rows.Clear();
        Array.Clear(_places);
    }
}
