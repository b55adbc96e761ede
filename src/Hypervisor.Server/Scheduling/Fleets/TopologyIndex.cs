namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>The places of one kind, by number, and which of them each row is part of.</summary>
internal sealed class TopologyIndex(string topology)
{
    /// <summary>Part of no such place.</summary>
    public const int Nowhere = -1;

    private readonly Dictionary<string, int> _numbers = new(StringComparer.Ordinal);
    private int[] _places = [];

    public string Topology => topology;

    /// <summary>Each row with a node is a place of its own, numbered as the row.</summary>
    public bool IsNode => topology == Scheduling.Topology.Node;

    public int Count => _numbers.Count;

    public int PlaceOf(int row) => row < _places.Length ? _places[row] : Nowhere;

    /// <returns>False when the row was part of this very place before.</returns>
    public bool Set(int row, CandidateNode? node)
    {
        var place = node is null || Scheduling.Topology.PlaceOf(node, topology) is not { } name ? Nowhere : IsNode ? row : Number(name);

        if (row >= _places.Length)
        {
            if (place == Nowhere)
            {
                // Users may name labels that no node has, as many as they like: those cost nothing.
                return false;
            }

            var before = _places.Length;
            Array.Resize(ref _places, Math.Max(row + 1, before * 2));
            Array.Fill(_places, Nowhere, before, _places.Length - before);
        }

        if (_places[row] == place)
        {
            return false;
        }

        _places[row] = place;
        return true;
    }

    /// <summary>Numbers are never used again: a place that lost its last node costs a few bytes in each count.</summary>
    private int Number(string place)
    {
        if (!_numbers.TryGetValue(place, out var number))
        {
            _numbers.Add(place, number = _numbers.Count);
        }

        return number;
    }
}
