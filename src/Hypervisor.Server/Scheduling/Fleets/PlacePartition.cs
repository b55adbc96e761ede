namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>Rows by the places that they are part of, for some kinds of places together: "zone", or "zone" and "rack".</summary>
internal sealed class PlacePartition(Fleet fleet, IReadOnlyList<TopologyIndex> topologies)
{
    private readonly Dictionary<string, int> _numbers = new(StringComparer.Ordinal);
    private readonly List<int[]> _places = topologies.Count == 0 ? [[]] : [];
    private int[] _parts = [];
    private long _described = -1;
    private int _rows;

    public IReadOnlyList<TopologyIndex> Topologies => topologies;

    public int Count => _places.Count;

    /// <summary>By kind of place, in the order of <see cref="Topologies"/>.</summary>
    public int[] PlacesOf(int part) => _places[part];

    public int PartOf(int row) => topologies.Count == 0 ? 0 : _parts[row];

    public void Refresh()
    {
        if (topologies.Count == 0 || (_described == fleet.DescriptionClock && _rows == fleet.RowCount))
        {
            return;
        }

        if (_parts.Length < fleet.RowCount)
        {
            Array.Resize(ref _parts, Math.Max(fleet.RowCount, _parts.Length * 2));
        }

        foreach (var row in (_described < 0 ? null : fleet.DescribedSince(_described)) ?? Enumerable.Range(0, fleet.RowCount))
        {
            _parts[row] = Find(row);
        }

        for (; _rows < fleet.RowCount; _rows++)
        {
            _parts[_rows] = Find(_rows);
        }

        _described = fleet.DescriptionClock;
    }

    private int Find(int row)
    {
        var places = new int[topologies.Count];
        for (var kind = 0; kind < places.Length; kind++)
        {
            places[kind] = topologies[kind].PlaceOf(row);
        }

        var key = string.Join(',', places);
        if (!_numbers.TryGetValue(key, out var number))
        {
            _numbers.Add(key, number = _places.Count);
            _places.Add(places);
        }

        return number;
    }
}
