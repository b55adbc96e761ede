namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>One in a place with an instance of the selection.</summary>
internal sealed class AffinityScorer(Neighbours neighbours) : IPlacementScorer
{
    public string Name => "Affinity";

    public double Score(PlacementRequest request, CandidateNode node) =>
        Topology.PlaceOf(node, neighbours.Topology) is { } place && neighbours.In(place) > 0 ? 1 : 0;
}

/// <summary>One in a place with none of the selection, and less the more there are.</summary>
internal sealed class AntiAffinityScorer(Neighbours neighbours) : IPlacementScorer
{
    public string Name => "AntiAffinity";

    public double Score(PlacementRequest request, CandidateNode node) =>
        Topology.PlaceOf(node, neighbours.Topology) is { } place ? 1.0 / (1 + neighbours.In(place)) : 1;
}

/// <summary>One in the place with fewest of the selection, and less the more there are.</summary>
/// <param name="least">As in <see cref="Filters.SpreadFilter"/>.</param>
internal sealed class SpreadTermScorer(Neighbours neighbours, int least) : IPlacementScorer
{
    public string Name => "Even";

    public double Score(PlacementRequest request, CandidateNode node) =>
        Topology.PlaceOf(node, neighbours.Topology) is { } place ? 1.0 / (1 + Math.Max(0, neighbours.In(place) - least)) : 0;
}
