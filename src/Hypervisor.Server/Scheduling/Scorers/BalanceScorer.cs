namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>Prefers an empty node on which CPU and memory are used alike afterwards, so that neither is left over.</summary>
internal sealed class BalanceScorer : IPlacementScorer
{
    public string Name => "Balance";

    public double Score(PlacementRequest request, CandidateNode node)
    {
        var (cpu, memory) = Utilisation.Shares(request, node);
        return (1 - ((cpu + memory) / 2) + 1 - Math.Abs(cpu - memory)) / 2;
    }
}
