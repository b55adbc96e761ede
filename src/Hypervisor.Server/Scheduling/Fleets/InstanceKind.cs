using System.Text;

namespace Hypervisor.Server.Scheduling.Fleets;

/// <summary>What others see of an instance: shared by all that look the same to them.</summary>
/// <param name="keepsAway">What instances of this kind must be apart from.</param>
internal sealed class InstanceKind(string project, IReadOnlyDictionary<string, string> labels, IReadOnlyList<NeighbourTerm> keepsAway, ProjectUsage usage)
{
    private readonly List<NeighbourCounter> _countedBy = [];
    private readonly List<NeighbourCounter> _keptAwayBy = [];
    private int _countersSeen;
    private int _keepersSeen;
    private int _generation;

    public string Project => project;

    public IReadOnlyDictionary<string, string> Labels => labels;

    public IReadOnlyList<NeighbourTerm> KeepsAway => keepsAway;

    /// <summary>Of its project.</summary>
    public ProjectUsage Usage => usage;

    /// <summary>How many instances of it are placed.</summary>
    public int Placed { get; set; }

    /// <summary>Where instances of this kind are counted as ones that must be apart from others.</summary>
    public NeighbourCounter[] Keepers { get; set; } = [];

    /// <summary>Those that count instances of this kind, up to date.</summary>
    public List<NeighbourCounter> CountedBy(NeighbourIndex index)
    {
        Renew(index);
        for (; _countersSeen < index.Counters.Count; _countersSeen++)
        {
            if (index.Counters[_countersSeen].Selects(this))
            {
                _countedBy.Add(index.Counters[_countersSeen]);
            }
        }

        return _countedBy;
    }

    /// <summary>Those that count instances which must be apart from ones of this kind.</summary>
    public List<NeighbourCounter> KeptAwayBy(NeighbourIndex index)
    {
        Renew(index);
        for (; _keepersSeen < index.Keepers.Count; _keepersSeen++)
        {
            if (index.Keepers[_keepersSeen].Selects(this))
            {
                _keptAwayBy.Add(index.Keepers[_keepersSeen]);
            }
        }

        return _keptAwayBy;
    }

    public static string KeyOf(string project, IReadOnlyDictionary<string, string> labels, IReadOnlyList<NeighbourTerm> keepsAway)
    {
        var key = new StringBuilder(project);
        foreach (var (name, value) in labels.Count > 1 ? labels.OrderBy(label => label.Key, StringComparer.Ordinal) : (IEnumerable<KeyValuePair<string, string>>)labels)
        {
            key.Append('\n').Append(name).Append('=').Append(value);
        }

        foreach (var term in keepsAway)
        {
            key.Append('\n').Append('!').Append(term.Topology).Append('\t').Append(term.Text);
        }

        return key.ToString();
    }

    private void Renew(NeighbourIndex index)
    {
        if (_generation != index.Generation)
        {
            _generation = index.Generation;
            (_countersSeen, _keepersSeen) = (0, 0);
            _countedBy.Clear();
            _keptAwayBy.Clear();
        }
    }
}
