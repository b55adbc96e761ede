using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>The place would not have too many more of the selection than another that could take one.</summary>
/// <param name="neighbours">What the term selects.</param>
/// <param name="least">In the place that has fewest, of those with a node that could take the instance if it had room.</param>
internal sealed class SpreadFilter(SpreadTerm term, Neighbours neighbours, int least) : IPlacementFilter
{
    public const string FilterName = "Spread";

    public string Name => FilterName;

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (Topology.PlaceOf(node, term.Topology) is not { } place)
        {
            return new($"is part of no {term.Topology}", $"are part of no {term.Topology}");
        }

        var own = term.Selector.Matches(request.Labels) ? 1 : 0;
        return neighbours.In(place) + own - least <= term.MaxSkew
            ? null
            : new(
                $"is in {term.Topology} {Topology.TextOf(place)}, which has {neighbours.In(place)} with {term.Text} against {least} elsewhere",
                $"are in a {term.Topology} that would have over {term.MaxSkew} more with {term.Text} than another");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node)
    {
        var subject = $"{term.Text}@{term.Topology}";
        if (Topology.PlaceOf(node, term.Topology) is not { } place)
        {
            return
            [
                new(RemedyKind.PreferSpread, subject, $"prefer the spread of {term.Text} by {term.Topology} instead of requiring it")
                {
                    OnRequest = changed => changed with { Spread = Instead(changed, term with { Preferred = true }) },
                },
            ];
        }

        var skew = neighbours.In(place) + (term.Selector.Matches(request.Labels) ? 1 : 0) - least;
        return skew > Limits.Instance.MaxSkew
            ? []
            :
            [
                new(RemedyKind.RaiseSkew, subject, $"allow the spread of {term.Text} by {term.Topology} a skew of {skew}")
                {
                    OnRequest = changed => changed with { Spread = Instead(changed, term with { MaxSkew = skew }) },
                    MaxSkew = skew,
                },
            ];
    }

    private IReadOnlyList<SpreadTerm> Instead(PlacementRequest request, SpreadTerm other) =>
        [.. request.Spread.Select(known => ReferenceEquals(known, term) ? other : known)];
}
