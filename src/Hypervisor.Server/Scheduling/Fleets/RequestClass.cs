namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>All requests that differ in nothing but whose they are. Made by <see cref="RequestClasses"/>.</summary>
/// <param name="request">One of them.</param>
internal sealed class RequestClass(int id, PlacementRequest request, InstanceKind kind, IReadOnlyList<NeighbourRule> rules)
{
    /// <summary>More parts than this are looked at row by row: a list for each would cost more than it saves.</summary>
    private const int MaxParts = 1024;

    private readonly KeptOut _keptOut = new();
    private readonly List<NeighbourRule> _keepers = [];
    private readonly int[] _least = new int[rules.Count];
    private RequestShape? _shape;
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
        if (rules.Count == 0 && _keepers.Count == 0)
        {
            shape.Offer(0, 0, null, ref ranking);
            return ranking;
        }

        for (var index = 0; index < rules.Count; index++)
        {
            _least[index] = rules[index].Kind == NeighbourRuleKind.Spread ? Least(shape.Able, rules[index]) : 0;
        }

        var fewRows = rules.FirstOrDefault(rule => rule is { Kind: NeighbourRuleKind.Affinity, Preferred: false, Topology.IsNode: true, IsOpen: false });
        if (fewRows is not null)
        {
            foreach (var row in fewRows.Counter.Rows)
            {
                OfferRow(shape, row, ref ranking);
            }
        }
        else if (NeedsEveryRow(shape))
        {
            for (var row = 0; row < fleet.RowCount; row++)
            {
                OfferRow(shape, row, ref ranking);
            }
        }
        else
        {
            OfferParts(shape, ref ranking);
        }

        return ranking;

        void OfferRow(RequestShape from, int row, ref Ranking to)
        {
            if (from.Fits(row) && Allowed(row, out var bonus))
            {
                to.Offer(fleet, row, from.ScoreOf(row) + bonus);
            }
        }
    }

    /// <summary>Whether a row takes one more instance of the class, as of the last decision.</summary>
    public bool Takes(int row) => _shape!.Fits(row) && Allowed(row, out _);

    /// <summary>Places of nodes change what is best row by row, unless all that they do is to forbid some.</summary>
    private bool NeedsEveryRow(RequestShape shape) =>
        shape.Partition.Count > MaxParts
        || rules.Any(rule => rule.Topology.IsNode && (rule.Preferred || rule.Kind == NeighbourRuleKind.Spread));

    private void OfferParts(RequestShape shape, ref Ranking ranking)
    {
        _keptOut.Clear();
        foreach (var rule in rules.Concat(_keepers).Where(rule => rule is { Topology.IsNode: true, Kind: NeighbourRuleKind.AntiAffinity }))
        {
            _keptOut.Add(rule.Counter);
        }

        var partition = shape.Partition;
        for (var part = 0; part < partition.Count; part++)
        {
            if (Allowed(partition, partition.PlacesOf(part), out var bonus))
            {
                shape.Offer(part, bonus, _keptOut.IsEmpty ? null : _keptOut, ref ranking);
            }
        }
    }

    private bool Allowed(PlacePartition partition, int[] places, out double bonus)
    {
        bonus = 0;
        for (var index = 0; index < rules.Count + _keepers.Count; index++)
        {
            var rule = index < rules.Count ? rules[index] : _keepers[index - rules.Count];
            if (rule.Topology.IsNode)
            {
                continue;
            }

            var place = places[IndexOf(partition.Topologies, rule.Topology)];
            var least = index < rules.Count ? _least[index] : 0;
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

    private bool Allowed(int row, out double bonus)
    {
        bonus = 0;
        for (var index = 0; index < rules.Count + _keepers.Count; index++)
        {
            var rule = index < rules.Count ? rules[index] : _keepers[index - rules.Count];
            var place = rule.Topology.PlaceOf(row);
            var least = index < rules.Count ? _least[index] : 0;
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

    private static int IndexOf(IReadOnlyList<TopologyIndex> topologies, TopologyIndex wanted)
    {
        for (var index = 0; index < topologies.Count; index++)
        {
            if (topologies[index] == wanted)
            {
                return index;
            }
        }

        throw new InvalidOperationException($"The partition has no places of kind {wanted.Topology}.");
    }

    /// <summary>Whom it is kept away by may have changed, and with it which kinds of places matter.</summary>
    private RequestShape Prepare(Fleet fleet, RequestClasses classes)
    {
        var keepers = kind.KeptAwayBy(fleet.Neighbours);
        if (_shape is not null && _keepersSeen == keepers.Count && _generation == fleet.Neighbours.Generation)
        {
            return _shape;
        }

        _keepers.Clear();
        _keepers.AddRange(keepers.Select(keeper => new NeighbourRule(NeighbourRuleKind.AntiAffinity, keeper, Preferred: false, Selects: false)));
        (_keepersSeen, _generation) = (keepers.Count, fleet.Neighbours.Generation);
        var topologies = rules.Concat(_keepers).Select(rule => rule.Topology).Where(topology => !topology.IsNode).Distinct()
            .OrderBy(topology => topology.Topology, StringComparer.Ordinal);
        return _shape = classes.ShapeOf(request, [.. topologies]);
    }
}
