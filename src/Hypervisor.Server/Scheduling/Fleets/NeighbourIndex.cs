using Hypervisor.Server.Api.Lists;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>Every count of neighbours that somebody asks for, each kept once however many ask.</summary>
internal sealed class NeighbourIndex
{
    private readonly Dictionary<(string Project, string Text, string Topology), NeighbourCounter> _counters = [];
    private readonly Dictionary<(string Project, string Text, string Topology), NeighbourCounter> _keepers = [];
    private readonly Dictionary<string, InstanceKind> _kinds = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ProjectUsage> _usages = new(StringComparer.Ordinal);
    private readonly Dictionary<string, TopologyIndex> _topologies = new(StringComparer.Ordinal);

    /// <summary>In the order in which they came, so that a kind looks at each once.</summary>
    public List<NeighbourCounter> Counters { get; } = [];

    /// <summary>Of instances that must be apart from others, by what they must be apart from.</summary>
    public List<NeighbourCounter> Keepers { get; } = [];

    /// <summary>Another one: the lists begin anew.</summary>
    public int Generation { get; private set; } = 1;

    public IReadOnlyCollection<TopologyIndex> Topologies => _topologies.Values;

    public TopologyIndex Topology(string name, Action<TopologyIndex> fill)
    {
        if (!_topologies.TryGetValue(name, out var index))
        {
            _topologies.Add(name, index = new(name));
            fill(index);
        }

        return index;
    }

    /// <summary>The same object while there is a kind of the project.</summary>
    public ProjectUsage Usage(string project)
    {
        if (!_usages.TryGetValue(project, out var usage))
        {
            _usages.Add(project, usage = new());
        }

        return usage;
    }

    /// <summary>The kind of such instances; the same object while any is placed or any request class is of it.</summary>
    public InstanceKind Kind(string project, IReadOnlyDictionary<string, string> labels, IReadOnlyList<NeighbourTerm> antiAffinity, Func<string, TopologyIndex> topology)
    {
        var keepsAway = antiAffinity.Count == 0 ? antiAffinity : [.. antiAffinity.Where(term => !term.Preferred)];
        var key = InstanceKind.KeyOf(project, labels, keepsAway);
        if (!_kinds.TryGetValue(key, out var kind))
        {
            _kinds.Add(key, kind = new(project, labels, keepsAway, Usage(project)));
            kind.Keepers = [.. keepsAway.Select(term => Find(_keepers, Keepers, project, term.Text, term.Selector, topology(term.Topology)).Counter).Distinct()];
        }

        return kind;
    }

    /// <returns>Whether it has to be filled: it was not there before.</returns>
    public (NeighbourCounter Counter, bool IsNew) Counter(string project, string text, LabelSelector selector, TopologyIndex topology) =>
        Find(_counters, Counters, project, text, selector, topology);

    /// <summary>Forgets counters that no class asks for, kinds of which nothing is placed and no class is, and the places of neither.</summary>
    public void Trim(IReadOnlySet<InstanceKind> used, IEnumerable<TopologyIndex> parted)
    {
        foreach (var (key, counter) in _counters.Where(entry => entry.Value.Users == 0).ToList())
        {
            _counters.Remove(key);
            Counters.Remove(counter);
        }

        foreach (var (key, kind) in _kinds.Where(entry => entry.Value.Placed == 0 && !used.Contains(entry.Value)).ToList())
        {
            _kinds.Remove(key);
        }

        var projects = _kinds.Values.Select(kind => kind.Project).ToHashSet(StringComparer.Ordinal);
        foreach (var project in _usages.Keys.Where(project => !projects.Contains(project)).ToList())
        {
            _usages.Remove(project);
        }

        var held = _kinds.Values.SelectMany(kind => kind.Keepers).ToHashSet();
        foreach (var (key, keeper) in _keepers.Where(entry => !held.Contains(entry.Value)).ToList())
        {
            _keepers.Remove(key);
            Keepers.Remove(keeper);
        }

        var counted = Counters.Concat(Keepers).Select(counter => counter.Topology).Concat(parted).ToHashSet();
        foreach (var (name, _) in _topologies.Where(entry => !counted.Contains(entry.Value)).ToList())
        {
            _topologies.Remove(name);
        }

        Generation++;
    }

    private static (NeighbourCounter Counter, bool IsNew) Find(
        Dictionary<(string, string, string), NeighbourCounter> known, List<NeighbourCounter> all, string project, string text, LabelSelector selector, TopologyIndex topology)
    {
        if (known.TryGetValue((project, text, topology.Topology), out var counter))
        {
            return (counter, false);
        }

        known.Add((project, text, topology.Topology), counter = new(project, selector, topology));
        all.Add(counter);
        return (counter, true);
    }
}
