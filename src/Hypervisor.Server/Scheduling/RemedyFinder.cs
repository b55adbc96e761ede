using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>
/// The smallest changes after which an instance that fits nowhere would fit: of what it asks for, of a node, or one more node. A pure function of
/// what the scan saw; nothing is named that its filters, asked again, would refuse.
/// </summary>
internal static class RemedyFinder
{
    /// <summary>Nobody reads more, and the receipt is stored with each instance.</summary>
    public const int MaxRemedies = 3;

    public const int MaxSteps = 3;

    /// <summary>Kinds of change kept of a fleet whose nodes all lack something else.</summary>
    private const int MaxWays = 256;

    /// <summary>Ways that are asked again; each may take a look at all nodes.</summary>
    private const int MaxTries = 8;

    /// <summary>Fewest steps first, then the easiest kinds; each in another way than those before it.</summary>
    public static IReadOnlyList<PlacementRemedy> Find(PlacementRequest request, FleetView fleet)
    {
        var filters = Scheduler.Filters(request, fleet);
        var ways = new Dictionary<string, RemedyWay>(StringComparer.Ordinal);
        foreach (var node in fleet.Nodes)
        {
            if (StepsFor(request, node, filters) is not { } steps)
            {
                continue;
            }

            var key = RemedyWay.KeyOf(steps);
            if (ways.TryGetValue(key, out var way))
            {
                way.Offer(node, steps);
            }
            else if (ways.Count < MaxWays)
            {
                ways.Add(key, new(node, steps));
            }
        }

        var found = new List<RemedyWay>(MaxRemedies);
        var easiest = ways.Values.Concat(OneMoreNode(request, fleet, filters)).Order().Take(MaxTries).Select(way => Shortened(way, request, fleet)).Order();
        foreach (var way in easiest)
        {
            if (found.Count == MaxRemedies)
            {
                break;
            }

            if (!found.Exists(known => known.IsOfKind(way)) && Helps(way, request, fleet))
            {
                found.Add(way);
            }
        }

        return [.. found.Select(way => way.ToMessage())];
    }

    /// <summary>Null when there is a filter that nothing helps against, or too much to change.</summary>
    private static List<Remedy>? StepsFor(PlacementRequest request, CandidateNode node, IReadOnlyList<IPlacementFilter> filters)
    {
        var refusing = new List<IPlacementFilter>(MaxSteps);
        foreach (var filter in filters)
        {
            if (filter.Judge(request, node) is null)
            {
                continue;
            }

            if (refusing.Count == MaxSteps)
            {
                return null;
            }

            refusing.Add(filter);
        }

        var steps = new List<Remedy>(MaxSteps);
        foreach (var filter in refusing)
        {
            var remedies = filter.Remedies(request, node);
            if (remedies.Count == 0 || steps.Count + remedies.Count > MaxSteps)
            {
                return null;
            }

            steps.AddRange(remedies);
        }

        return steps.Count == 0 ? null : steps;
    }

    /// <summary>A node like one of those that there are, the smallest of those that would do: where that one is, else in a place of its own.</summary>
    private static IEnumerable<RemedyWay> OneMoreNode(PlacementRequest request, FleetView fleet, IReadOnlyList<IPlacementFilter> filters)
    {
        var models = fleet.Nodes.Where(node => request.Reserve.FitsIn(node.Capacity) && request.Devices.FitsIn(node.Devices))
            .OrderBy(node => node.Capacity.MemoryBytes).ThenBy(node => node.Capacity.CpuMillicores).ThenBy(node => node.Name, StringComparer.Ordinal).ToList();
        foreach (var elsewhere in Topologies(request, fleet).Prepend(""))
        {
            foreach (var model in models)
            {
                var added = Twin(model, elsewhere);
                if (filters.All(filter => filter.Judge(request, added) is null))
                {
                    var text = $"add one more node like {model.Name}{(elsewhere.Length == 0 ? "" : $", in another {elsewhere}")}";
                    yield return new(added, [new(RemedyKind.AddNode, model.Name, text) { Elsewhere = elsewhere }]);
                    yield break;
                }
            }
        }
    }

    /// <summary>Kinds of places but nodes in which others may be in the way.</summary>
    private static IEnumerable<string> Topologies(PlacementRequest request, FleetView fleet) =>
        request.AntiAffinity.Concat(fleet.Placed.SelectMany(placed => placed.KeepsAway)).Select(term => term.Topology)
            .Concat(request.Spread.Select(term => term.Topology))
            .Where(topology => topology != Topology.Node).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Take(MaxSteps);

    /// <summary>Without anything on it, and nothing against it.</summary>
    private static CandidateNode Twin(CandidateNode model, string elsewhere)
    {
        // No node has such a name, nor is in such a place.
        const string New = "+";
        var added = model with
        {
            Id = new NodeId(New),
            Name = New,
            Scheduling = NodeScheduling.Schedulable,
            Liveness = NodeLiveness.Ready,
            Allocated = default,
            AllocatedDevices = default,
            InstanceCount = 0,
            UsedPorts = [],
        };
        return elsewhere.Length == 0 ? added : Topology.Moved(added, elsewhere, New);
    }

    /// <summary>
    /// Without the steps that the others save: where nobody could take an instance, whoever tolerates the taint of one place makes that place the one
    /// that has fewest, and needs no greater skew.
    /// </summary>
    private static RemedyWay Shortened(RemedyWay way, PlacementRequest request, FleetView fleet)
    {
        foreach (var step in way.Steps.Where(step => step.Kind == RemedyKind.RaiseSkew))
        {
            if (way.Steps.Count > 1 && way.Without(step) is var shorter && Helps(shorter, request, fleet))
            {
                way = shorter;
            }
        }

        return way;
    }

    private static bool Helps(RemedyWay way, PlacementRequest request, FleetView fleet)
    {
        var (asked, node) = way.Apply(request);
        var isNew = !fleet.Nodes.Any(known => known.Id == node.Id);
        var changed = fleet with { Nodes = isNew ? [.. fleet.Nodes, node] : [.. fleet.Nodes.Select(known => known.Id == node.Id ? node : known)] };
        return Scheduler.Filters(asked, changed).All(filter => filter.Judge(asked, node) is null);
    }
}
