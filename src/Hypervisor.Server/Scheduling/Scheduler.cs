using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;
using Hypervisor.Server.Scheduling.Scorers;

namespace Hypervisor.Server.Scheduling;

/// <summary>
/// Filter, then score: a pure function of a fleet view and a request. Reserving (<see cref="Reservations"/>) and
/// committing (the placement's writer) happen elsewhere.
/// </summary>
internal sealed class Scheduler(IReadOnlyList<IPlacementFilter> filters, IReadOnlyList<ScoringProfile> profiles)
{
    /// <summary>Nobody reads more, and the receipt is stored with each instance.</summary>
    public const int MaxExamples = 3;

    /// <summary>Likewise.</summary>
    public const int MaxCandidates = 3;

    /// <summary>Cheap and telling filters first: a node counts for the first that refuses it.</summary>
    public static Scheduler Default { get; } = new(
        [
            new SourceFilter(),
            new SchedulingFilter(),
            new LivenessFilter(),
            new InstanceTypeFilter(),
            new AcceleratorFilter(),
            new LocationFilter(),
            new NodeSelectorFilter(),
            new HostPortsFilter(),
            new ResourcesFilter(),
        ],
        [
            new(PlacementStrategy.Binpack, [new(new BinPackScorer(), 1)]),
            new(PlacementStrategy.Spread, [new(new SpreadScorer(), 1)]),
        ]);

    public PlacementDecision Decide(PlacementRequest request, FleetView fleet, DateTimeOffset decidedAt)
    {
        var profile = profiles.FirstOrDefault(candidate => candidate.Strategy == request.Strategy) ?? profiles[0];
        var rejections = new RejectionTally(filters);
        var best = new BestCandidates(MaxCandidates);
        foreach (var node in fleet.Nodes)
        {
            if (!rejections.Judge(request, node))
            {
                best.Offer(profile.Score(request, node));
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
}
