using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Lists;

namespace Hypervisor.Server.Scheduling;

/// <summary>Instances of the request's project, and the kind of place that is shared with them or not.</summary>
/// <param name="Text">The selector as it was written.</param>
/// <param name="Topology">Never empty.</param>
internal sealed record NeighbourTerm(string Text, LabelSelector Selector, string Topology, bool Preferred)
{
    public static NeighbourTerm Of(AffinityTerm term) =>
        new(term.Selector, LabelSelector.Parse(term.Selector), term.Topology.Length == 0 ? Scheduling.Topology.Node : term.Topology, term.Preferred);

    /// <summary>The same terms, with this one of them preferred.</summary>
    public IReadOnlyList<NeighbourTerm> PreferredIn(IReadOnlyList<NeighbourTerm> terms) =>
        [.. terms.Select(term => ReferenceEquals(term, this) ? term with { Preferred = true } : term)];
}

/// <summary>How unevenly instances may lie over places.</summary>
/// <param name="MaxSkew">At least 1.</param>
internal sealed record SpreadTerm(string Text, LabelSelector Selector, string Topology, int MaxSkew, bool Preferred)
{
    public static SpreadTerm Of(SpreadConstraint term) => new(
        term.Selector, LabelSelector.Parse(term.Selector), term.Topology.Length == 0 ? Scheduling.Topology.Zone : term.Topology, Math.Max(1, term.MaxSkew), term.Preferred);
}

/// <summary>Where an instance had better be. Empty texts ask for nothing.</summary>
internal sealed record PreferredPlace(string Region, string Zone, string Node, IReadOnlyDictionary<string, string> Labels)
{
    public static PreferredPlace None { get; } = new("", "", "", new Dictionary<string, string>());

    public bool IsNone => Region.Length == 0 && Zone.Length == 0 && Node.Length == 0 && Labels.Count == 0;

    public static PreferredPlace Of(PlacementConstraints constraints) =>
        constraints.PreferredRegion.Length == 0 && constraints.PreferredZone.Length == 0 && constraints.PreferredNode.Length == 0 && constraints.PreferredLabels.Count == 0
            ? None
            : new(constraints.PreferredRegion, constraints.PreferredZone, constraints.PreferredNode, constraints.PreferredLabels);
}
