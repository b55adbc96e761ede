namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>Prefers the fullest node, so that large instances find room and empty machines can be switched off.</summary>
internal sealed class BinPackScorer : IPlacementScorer
{
    public string Name => "BinPack";

    public double Score(PlacementRequest request, CandidateNode node) => Utilisation.After(request, node);
}
