using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.Scheduling.Scorers;

namespace Hypervisor.Server.Scheduling;

/// <summary>
/// The rules of placement as a scan of all nodes: filter, then score; a pure function of a fleet view and a request, with reasons in words.
/// Placements are decided by <see cref="Fleets.Fleet"/>, by the same rules; this says why nothing fits, and tests compare the two.
/// </summary>
internal static class Scheduler
{
    /// <summary>Nobody reads more, and the receipt is stored with each instance.</summary>
    public const int MaxExamples = 3;

    /// <summary>Likewise.</summary>
    public const int MaxCandidates = 3;

    /// <summary>What the node is, cheap and telling filters first: a node counts for the first that refuses it.</summary>
    public static IReadOnlyList<IPlacementFilter> Able { get; } =
    [
        new SourceFilter(),
        new SchedulingFilter(),
        new LivenessFilter(),
        new InstanceTypeFilter(),
        new AcceleratorFilter(),
        new LocationFilter(),
        new NodeSelectorFilter(),
        new TaintFilter(),
    ];

    /// <summary>What is on it. Receipts that are kept count by position: another one comes last.</summary>
    private static readonly IPlacementFilter[] Room = [new HostPortsFilter(), new ResourcesFilter(), new DevicesFilter()];

    /// <summary>Of the filters that look at a node and what is on it, in their order.</summary>
    public static IEnumerable<string> NamesOfNodeFilters => Able.Concat(Room).Select(filter => filter.Name);

    /// <summary>Whether a filter judges by where other instances are, and not by the node.</summary>
    public static bool IsOfNeighbours(string filter) => filter is AffinityFilter.FilterName or AntiAffinityFilter.FilterName or SpreadFilter.FilterName;

    private static readonly ScoringProfile[] Profiles =
    [
        new(PlacementStrategy.Binpack, "bin-pack", new BinPackScorer()),
        new(PlacementStrategy.Spread, "spread", new SpreadScorer()),
        new(PlacementStrategy.Balanced, "balanced", new BalanceScorer()),
    ];

    private static readonly PreferenceScorer Preferred = new();
    private static readonly TaintScorer Avoided = new();
    private static readonly DeviceScorer Spared = new();

    public static ScoringProfile ProfileOf(PlacementStrategy strategy) => Profiles.FirstOrDefault(candidate => candidate.Strategy == strategy) ?? Profiles[0];

    public static PlacementDecision Decide(PlacementRequest request, FleetView fleet, DateTimeOffset decidedAt)
    {
        var profile = ProfileOf(request.Strategy);
        var (filters, scorers) = Rules(request, fleet, profile);
        var rejections = new RejectionTally(filters);
        var best = new BestCandidates(MaxCandidates);
        foreach (var node in fleet.Nodes)
        {
            if (!rejections.Judge(request, node))
            {
                best.Offer(ScoredNode.Of(request, node, scorers));
            }
        }

        var receipt = new PlacementReceipt
        {
            InstanceUid = request.Instance.Value,
            ViewResourceVersion = fleet.Version.Value,
            NodesConsidered = fleet.Nodes.Count,
            Strategy = profile.Strategy,
            DecidedAt = decidedAt.ToTimestamp(),
        };
        receipt.Filters.AddRange(rejections.Verdicts());
        receipt.Candidates.AddRange(best.Ranked.Select(scored => scored.ToMessage()));

        var winner = best.Ranked.Count > 0 ? best.Ranked[0].Node : null;
        receipt.Node = winner?.Name ?? "";
        receipt.Message = winner is null
            ? rejections.Sentence(fleet.Nodes.Count)
            : $"{winner.Name} is the best of {best.Offered} that fit, of {RejectionTally.NodesText(fleet.Nodes.Count)} ({profile.Name}).";
        return new(winner, winner is null ? rejections.Reason(fleet.Nodes.Count) : "", receipt.Message, receipt);
    }

    /// <summary>What judges for this request, in order; those about neighbours know where these are.</summary>
    public static IReadOnlyList<IPlacementFilter> Filters(PlacementRequest request, FleetView fleet) => Rules(request, fleet, Profiles[0]).Filters;

    /// <summary>What judges and what ranks for this request: rules about neighbours know where those are.</summary>
    private static (IReadOnlyList<IPlacementFilter> Filters, IReadOnlyList<IPlacementScorer> Scorers) Rules(
        PlacementRequest request, FleetView view, ScoringProfile profile)
    {
        List<IPlacementFilter> filters = [.. Able, .. Room];
        List<IPlacementScorer> scorers = [profile.Scorer];
        if (!request.Preferred.IsNone)
        {
            scorers.Add(Preferred);
        }

        if (view.Nodes.Any(node => node.Taints.Count > 0))
        {
            scorers.Add(Avoided);
        }

        if (view.Nodes.Any(node => !node.Devices.IsNone))
        {
            scorers.Add(Spared);
        }

        if (view.Placed.Count == 0 && request.Affinity.Count + request.AntiAffinity.Count + request.Spread.Count == 0)
        {
            return (filters, scorers);
        }

        var fleet = new FleetNodes(view);
        foreach (var term in request.Affinity)
        {
            var neighbours = Neighbours.Matching(term.Selector, term.Topology, request.Project, fleet);
            Add(term.Preferred, () => new AffinityFilter(term, neighbours), () => new AffinityScorer(neighbours));
        }

        foreach (var term in request.AntiAffinity)
        {
            var neighbours = Neighbours.Matching(term.Selector, term.Topology, request.Project, fleet);
            Add(term.Preferred, () => new AntiAffinityFilter(term, neighbours), () => new AntiAffinityScorer(neighbours));
        }

        filters.AddRange(Neighbours.KeepingAway(request.Project, request.Labels, fleet).Select(neighbours => new KeptAwayFilter(neighbours)));
        foreach (var term in request.Spread)
        {
            var neighbours = Neighbours.Matching(term.Selector, term.Topology, request.Project, fleet);
            var least = Least(request, view, neighbours);
            Add(term.Preferred, () => new SpreadFilter(term, neighbours, least), () => new SpreadTermScorer(neighbours, least));
        }

        return (filters, scorers);

        void Add(bool preferred, Func<IPlacementFilter> filter, Func<IPlacementScorer> scorer)
        {
            if (preferred)
            {
                scorers.Add(scorer());
            }
            else
            {
                filters.Add(filter());
            }
        }
    }

    /// <summary>
    /// How many the emptiest place has, of those with a node that could take the instance if it had room. A zone that is down, or cordoned as a
    /// whole, is no reason to place nothing elsewhere; one that is merely full is.
    /// </summary>
    private static int Least(PlacementRequest request, FleetView view, Neighbours neighbours)
    {
        var least = int.MaxValue;
        foreach (var node in view.Nodes)
        {
            if (Topology.PlaceOf(node, neighbours.Topology) is { } place && Able.All(filter => filter.Judge(request, node) is null))
            {
                least = Math.Min(least, neighbours.In(place));
            }
        }

        return least == int.MaxValue ? 0 : least;
    }
}
