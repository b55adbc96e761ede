using Hypervisor.Server.Api.Lists;

namespace Hypervisor.Server.Scheduling;

/// <summary>How many instances of a selection each place has.</summary>
internal sealed class Neighbours
{
    private readonly Dictionary<string, int> _counts = new(StringComparer.Ordinal);

    private Neighbours(string topology) => Topology = topology;

    public string Topology { get; }

    /// <summary>In all places: those on nodes that are part of none are nobody's neighbours.</summary>
    public int Total { get; private set; }

    public int In(string place) => _counts.GetValueOrDefault(place);

    public static Neighbours Matching(LabelSelector selector, string topology, string project, FleetNodes fleet)
    {
        var found = new Neighbours(topology);
        foreach (var instance in fleet.View.Placed)
        {
            if (instance.Project == project && selector.Matches(instance.Labels))
            {
                found.Add(instance, fleet);
            }
        }

        return found;
    }

    /// <summary>Those that must be apart from an instance with these labels, by each kind of place that they name.</summary>
    public static IReadOnlyList<Neighbours> KeepingAway(string project, IReadOnlyDictionary<string, string> labels, FleetNodes fleet)
    {
        var byTopology = new SortedDictionary<string, Neighbours>(StringComparer.Ordinal);
        foreach (var instance in fleet.View.Placed.Where(instance => instance.Project == project))
        {
            foreach (var topology in instance.KeepsAway.Where(term => term.Selector.Matches(labels)).Select(term => term.Topology).Distinct(StringComparer.Ordinal))
            {
                if (!byTopology.TryGetValue(topology, out var found))
                {
                    byTopology.Add(topology, found = new(topology));
                }

                found.Add(instance, fleet);
            }
        }

        return [.. byTopology.Values];
    }

    private void Add(PlacedInstance instance, FleetNodes fleet)
    {
        if (fleet.Node(instance.Node) is { } node && Scheduling.Topology.PlaceOf(node, Topology) is { } place)
        {
            Total++;
            _counts[place] = In(place) + 1;
        }
    }
}

/// <summary>A view with its nodes by id.</summary>
internal sealed class FleetNodes(FleetView view)
{
    private readonly Dictionary<string, CandidateNode> _byId = view.Nodes.ToDictionary(node => node.Id.Value, StringComparer.Ordinal);

    public FleetView View => view;

    public CandidateNode? Node(Protocol.NodeId id) => _byId.GetValueOrDefault(id.Value);
}
