namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>What a request's terms about neighbours come to: which places are allowed, and how much each is worth.</summary>
/// <param name="Selects">The term selects the request's own instances.</param>
internal sealed record NeighbourRule(NeighbourRuleKind Kind, NeighbourCounter Counter, bool Preferred, bool Selects, int MaxSkew = 0)
{
    public TopologyIndex Topology => Counter.Topology;

    /// <summary>Whether it forbids anything at all now: the first of a selection that includes itself may begin anywhere.</summary>
    public bool IsOpen => Kind == NeighbourRuleKind.Affinity && Counter.Total == 0 && Selects;

    /// <param name="least">In the place that has fewest, of those that could take one.</param>
    public bool Allows(int place, int least) => Kind switch
    {
        NeighbourRuleKind.Affinity => place >= 0 && (Counter.In(place) > 0 || IsOpen),
        NeighbourRuleKind.AntiAffinity => place < 0 || Counter.In(place) == 0,
        _ => place >= 0 && Counter.In(place) + (Selects ? 1 : 0) - least <= MaxSkew,
    };

    public double BonusOf(int place, int least) => Kind switch
    {
        NeighbourRuleKind.Affinity => place >= 0 && Counter.In(place) > 0 ? 1 : 0,
        NeighbourRuleKind.AntiAffinity => place >= 0 ? 1.0 / (1 + Counter.In(place)) : 1,
        _ => place >= 0 ? 1.0 / (1 + Math.Max(0, Counter.In(place) - least)) : 0,
    };
}

internal enum NeighbourRuleKind
{
    Affinity,
    AntiAffinity,
    Spread,
}
