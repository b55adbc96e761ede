namespace Hypervisor.Server.Scheduling;

/// <summary>How good a node that passed all filters is. Pure.</summary>
internal interface IPlacementScorer
{
    /// <summary>As in the receipt, for example "BinPack".</summary>
    string Name { get; }

    /// <summary>0-1; higher is better.</summary>
    double Score(PlacementRequest request, CandidateNode node);
}
