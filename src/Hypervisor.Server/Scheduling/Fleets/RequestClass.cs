namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>All requests that differ in nothing but whose they are. Made by <see cref="RequestClasses"/>.</summary>
/// <param name="request">One of them.</param>
internal sealed class RequestClass(int id, PlacementRequest request, InstanceKind kind, IReadOnlyList<NeighbourRule> rules)
{
    /// <summary>More parts than this are looked at row by row: a list for each would cost more than it saves.</summary>
    private const int MaxParts = 1024;

    private readonly KeptOut _keptOut = new();
    private readonly int[] _least = new int[rules.Count];
    private RequestShape? _shape;

    /// <summary>Its own rules first, in the order of <see cref="_least"/>, then that it is kept away by others.</summary>
    private NeighbourRule[] _all = [];

    /// <summary>For each of all: which of the partition's kinds of places it is about; -1 for nodes.</summary>
    private int[] _kinds = [];
    private bool _ranksNodes;
    private int _keepersSeen = -1;
    private int _generation;

    public int Id => id;

    public PlacementRequest Request => request;

    public InstanceKind Kind => kind;

    public IReadOnlyList<NeighbourRule> Rules => rules;

    /// <summary>Of the last decision.</summary>
    public RequestShape? Shape => _shape;

    /// <summary>When it was last asked, by the clock of <see cref="RequestClasses"/>.</summary>
    public long UsedAt { get; set; }

    /// <summary>Why nothing fitted, in words, when that was, and the fleet's clock then.</summary>
    public (long Clock, DateTimeOffset At, PlacementDecision Decision)? Refusal { get; set; }

    /// <summary>The best rows for one more instance of the class; none when nothing fits.</summary>
    public Ranking Decide(Fleet fleet, RequestClasses classes)
    {
        var shape = Prepare(fleet, classes);
        shape.Refresh();
        var ranking = new Ranking();
        if (_all.Length == 0)
        {
            shape.Offer(0, 0, null, ref ranking);
            return ranking;
        }

        NeighbourRule? fewRows = null;
        for (var index = 0; index < rules.Count; index++)
        {
            var rule = rules[index];
            _least[index] = rule.Kind == NeighbourRuleKind.Spread ? Least(shape.Able, rule) : 0;
            fewRows = rule is { Kind: NeighbourRuleKind.Affinity, Preferred: false, Topology.IsNode: true, IsOpen: false } ? rule : fewRows;
        }

        if (fewRows is not null)
        {
            foreach (var row in fewRows.Counter.Rows)
            {
                OfferRow(fleet, row, ref ranking);
            }
        }
        else if (_ranksNodes || shape.Partition.Count > MaxParts)
        {
            for (var row = 0; row < fleet.RowCount; row++)
            {
                OfferRow(fleet, row, ref ranking);
            }
        }
        else
        {
            for (var part = 0; part < shape.Partition.Count; part++)
            {
                if (Allowed(shape.Partition.PlacesOf(part), row: -1, out var bonus))
                {
                    shape.Offer(part, bonus, _keptOut.IsEmpty ? null : _keptOut, ref ranking);
                }
            }
        }

        return ranking;
    }

    /// <summary>Whether a row takes one more instance of the class, as of the last decision.</summary>
    public bool Takes(int row) => _shape!.Fits(row) && Allowed(_shape.Partition.PlacesOf(_shape.Partition.PartOf(row)), row, out _);

    /// <summary>What a row is worth to one more instance of the class, as of the last decision; null when it takes none.</summary>
    public double? ScoreOf(int row) => _shape!.Fits(row) && Allowed(_shape.Partition.PlacesOf(_shape.Partition.PartOf(row)), row, out var bonus)
        ? _shape.ScoreOf(row) + bonus
        : null;

    /// <summary>Whether a row would take one more instance of the class if it had room, and its ports were free, as of the last decision.</summary>
    public bool TakesButForRoom(int row) =>
        _shape!.Able.OfRows[row] == Verdicts.Fits && Allowed(_shape.Partition.PlacesOf(_shape.Partition.PartOf(row)), row, out _);

    private void OfferRow(Fleet fleet, int row, ref Ranking ranking)
    {
        if (_shape!.Fits(row) && Allowed(_shape.Partition.PlacesOf(_shape.Partition.PartOf(row)), row, out var bonus))
        {
            ranking.Offer(fleet, row, _shape.ScoreOf(row) + bonus);
        }
    }

    /// <param name="places">By the partition's kinds.</param>
    /// <param name="row">The one that is asked about; -1 leaves out what is about single nodes.</param>
    private bool Allowed(int[] places, int row, out double bonus)
    {
        bonus = 0;
        for (var index = 0; index < _all.Length; index++)
        {
            var (rule, kindOfPlace) = (_all[index], _kinds[index]);
            if (kindOfPlace < 0 && row < 0)
            {
                continue;
            }

            var place = kindOfPlace < 0 ? row : places[kindOfPlace];
            var least = index < _least.Length ? _least[index] : 0;
            if (rule.Preferred)
            {
                bonus += rule.BonusOf(place, least);
            }
            else if (!rule.Allows(place, least))
            {
                return false;
            }
        }

        return true;
    }

    private static int Least(AbleNodes able, NeighbourRule rule)
    {
        var least = int.MaxValue;
        if (rule.Topology.IsNode)
        {
            var verdicts = able.OfRows;
            for (var row = 0; row < verdicts.Length; row++)
            {
                least = verdicts[row] == Verdicts.Fits ? Math.Min(least, rule.Counter.In(row)) : least;
            }
        }
        else
        {
            var nodes = able.In(rule.Topology);
            for (var place = 0; place < nodes.Length; place++)
            {
                least = nodes[place] > 0 ? Math.Min(least, rule.Counter.In(place)) : least;
            }
        }

        return least == int.MaxValue ? 0 : least;
    }

    /// <summary>Whom it is kept away by may have changed, and with it which kinds of places matter.</summary>
    private RequestShape Prepare(Fleet fleet, RequestClasses classes)
    {
        var keepers = kind.KeptAwayBy(fleet.Neighbours);
        if (_shape is { IsForgotten: false } && _keepersSeen == keepers.Count && _generation == fleet.Neighbours.Generation)
        {
            return _shape;
        }

        (_keepersSeen, _generation) = (keepers.Count, fleet.Neighbours.Generation);
        _all = [.. rules, .. keepers.Select(keeper => new NeighbourRule(NeighbourRuleKind.AntiAffinity, keeper, Preferred: false, Selects: false))];
        TopologyIndex[] topologies =
        [
            .. _all.Select(rule => rule.Topology).Where(topology => !topology.IsNode).Distinct().OrderBy(topology => topology.Topology, StringComparer.Ordinal),
        ];
        _kinds = [.. _all.Select(rule => Array.IndexOf(topologies, rule.Topology))];

        // Nodes as places change what is best row by row, unless all that they do is to forbid some.
        _ranksNodes = _all.Any(rule => rule.Topology.IsNode && (rule.Preferred || rule.Kind == NeighbourRuleKind.Spread));
        _keptOut.Clear();
        foreach (var rule in _all.Where(rule => rule is { Topology.IsNode: true, Kind: NeighbourRuleKind.AntiAffinity }))
        {
            _keptOut.Add(rule.Counter);
        }

        return _shape = classes.ShapeOf(request, topologies);
    }
}
