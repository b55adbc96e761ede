using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The place has an instance of the selection; the first of a selection that includes itself may begin anywhere.</summary>
/// <param name="neighbours">What the term selects.</param>
internal sealed class AffinityFilter(NeighbourTerm term, Neighbours neighbours) : IPlacementFilter
{
    public const string FilterName = "Affinity";

    public string Name => FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (Topology.PlaceOf(node, term.Topology) is not { } place)
        {
            return new($"is part of no {term.Topology}", $"are part of no {term.Topology}");
        }

        if (neighbours.In(place) > 0 || (neighbours.Total == 0 && term.Selector.Matches(request.Labels)))
        {
            return null;
        }

        return term.Topology == Topology.Node
            ? new($"has no instance with {term.Text}", $"have no instance with {term.Text}")
            : new($"is in a {term.Topology} without an instance with {term.Text}", $"are in a {term.Topology} without an instance with {term.Text}");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.PreferAffinity, $"{term.Text}@{term.Topology}", $"prefer the affinity to {term.Text} by {term.Topology} instead of requiring it")
        {
            OnRequest = changed => changed with { Affinity = term.PreferredIn(changed.Affinity) },
        },
    ];
}
