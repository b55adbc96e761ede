using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The place has no instance that this one must be apart from.</summary>
/// <param name="neighbours">What the term selects.</param>
internal sealed class AntiAffinityFilter(NeighbourTerm term, Neighbours neighbours) : IPlacementFilter
{
    public const string FilterName = "AntiAffinity";

    public string Name => FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (Topology.PlaceOf(node, term.Topology) is not { } place || neighbours.In(place) == 0)
        {
            return null;
        }

        return term.Topology == Topology.Node
            ? new($"has an instance with {term.Text} already", $"have an instance with {term.Text} already")
            : new($"is in a {term.Topology} with an instance with {term.Text} already", $"are in a {term.Topology} with an instance with {term.Text} already");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        new(RemedyKind.PreferAntiAffinity, $"{term.Text}@{term.Topology}", $"prefer the anti-affinity to {term.Text} by {term.Topology} instead of requiring it")
        {
            OnRequest = changed => changed with { AntiAffinity = term.PreferredIn(changed.AntiAffinity) },
        },
    ];
}

/// <summary>The place has no instance that must be apart from this one.</summary>
/// <param name="neighbours">Those that name this kind of place.</param>
internal sealed class KeptAwayFilter(Neighbours neighbours) : IPlacementFilter
{
    public string Name => AntiAffinityFilter.FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (Topology.PlaceOf(node, neighbours.Topology) is not { } place || neighbours.In(place) == 0)
        {
            return null;
        }

        return neighbours.Topology == Topology.Node
            ? new("has an instance that must be apart from this one", "have an instance that must be apart from this one")
            : new(
                $"is in a {neighbours.Topology} with an instance that must be apart from this one",
                $"are in a {neighbours.Topology} with an instance that must be apart from this one");
    }
}
