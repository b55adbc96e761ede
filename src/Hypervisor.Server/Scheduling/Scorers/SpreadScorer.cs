namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>Prefers the emptiest node, so that the loss of one takes little with it.</summary>
internal sealed class SpreadScorer : IPlacementScorer
{
    public string Name => "Spread";

    public double Score(PlacementRequest request, CandidateNode node) => 1 - Utilisation.After(request, node);
}
