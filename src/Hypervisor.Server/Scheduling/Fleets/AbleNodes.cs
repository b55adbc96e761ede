using Hypervisor.Server.Scheduling.Scorers;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>
/// Which nodes could take a request if they had room, and how much they are preferred: what follows from descriptions alone. Shared by all
/// requests that differ in size only.
/// </summary>
internal sealed class AbleNodes(Fleet fleet, PlacementRequest request)
{
    private static readonly PreferenceScorer Preferred = new();
    private static readonly TaintScorer Avoided = new();
    private static readonly DeviceScorer Spared = new();

    private readonly Dictionary<TopologyIndex, int[]> _ableIn = [];
    private byte[] _verdicts = [];
    private double[]? _bonus = request.Preferred.IsNone ? null : [];
    private long _described = -1;
    private int _rows;

    /// <summary>By row: <see cref="Verdicts.Fits"/>, or the filter that refuses the node.</summary>
    public ReadOnlySpan<byte> OfRows => _verdicts.AsSpan(0, _rows);

    public double BonusOf(int row) => _bonus is null ? 0 : _bonus[row];

    public void Refresh()
    {
        if (_described == fleet.DescriptionClock && _rows == fleet.RowCount)
        {
            return;
        }

        if (_verdicts.Length < fleet.RowCount)
        {
            Array.Resize(ref _verdicts, Math.Max(fleet.RowCount, _verdicts.Length * 2));
        }

        if (fleet.HasAvoided || fleet.HasDevices)
        {
            _bonus ??= [];
        }

        if (_bonus is not null && _bonus.Length < _verdicts.Length)
        {
            Array.Resize(ref _bonus, _verdicts.Length);
        }

        // What was added to the rows was added to the log as well, unless the log is shorter than what was missed.
        var changed = _described < 0 ? null : fleet.DescribedSince(_described);
        foreach (var row in changed ?? Enumerable.Range(0, fleet.RowCount))
        {
            Judge(row);
        }

        for (; _rows < fleet.RowCount; _rows++)
        {
            Judge(_rows);
        }

        _ableIn.Clear();
        _described = fleet.DescriptionClock;
    }

    /// <summary>By place, how many nodes are able. Of places of the kind "node" there is nothing to count.</summary>
    public ReadOnlySpan<int> In(TopologyIndex topology)
    {
        if (!_ableIn.TryGetValue(topology, out var counts))
        {
            _ableIn.Add(topology, counts = new int[topology.Count]);
            for (var row = 0; row < _rows; row++)
            {
                if (_verdicts[row] == Verdicts.Fits && topology.PlaceOf(row) is >= 0 and var place)
                {
                    counts[place]++;
                }
            }
        }

        return counts;
    }

    private void Judge(int row)
    {
        if (fleet.NodeAt(row) is not { Node: var node })
        {
            _verdicts[row] = Verdicts.NoNode;
            return;
        }

        _verdicts[row] = Verdicts.Fits;
        for (var filter = 0; filter < Scheduler.Able.Count; filter++)
        {
            if (Scheduler.Able[filter].Judge(request, node) is not null)
            {
                _verdicts[row] = (byte)(filter + 1);
                return;
            }
        }

        if (_bonus is not null)
        {
            _bonus[row] = Preferred.Score(request, node) + Avoided.Score(request, node) + Spared.Score(request, node);
        }
    }
}
