using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>Counts what the filters refused, for the receipt and for the sentence that a person reads.</summary>
internal sealed class RejectionTally(IReadOnlyList<IPlacementFilter> filters)
{
    /// <summary>More kinds of reason than this end in "and N others".</summary>
    private const int MaxGroups = 6;

    private readonly int[] _removed = new int[filters.Count];
    private readonly List<string>?[] _examples = new List<string>?[filters.Count];

    // In order of first appearance; few, since rejections of one kind share their OfMany.
    private readonly List<Group> _groups = [];

    /// <summary>True when a filter refused the node.</summary>
    public bool Judge(PlacementRequest request, CandidateNode node)
    {
        for (var i = 0; i < filters.Count; i++)
        {
            if (filters[i].Judge(request, node) is not { } rejection)
            {
                continue;
            }

            _removed[i]++;
            var examples = _examples[i] ??= [];
            if (examples.Count < Scheduler.MaxExamples)
            {
                examples.Add($"{node.Name} {rejection.OfOne}");
            }

            var group = _groups.Find(known => known.First.OfMany == rejection.OfMany);
            if (group is null)
            {
                _groups.Add(group = new(rejection, filters[i].Name));
            }

            group.Count++;
            return true;
        }

        return false;
    }

    /// <summary>One per filter that refused a node, in the filters' order.</summary>
    public IEnumerable<FilterVerdict> Verdicts()
    {
        for (var i = 0; i < filters.Count; i++)
        {
            if (_removed[i] > 0)
            {
                var verdict = new FilterVerdict { Filter = filters[i].Name, NodesRemoved = _removed[i] };
                verdict.Examples.AddRange(_examples[i]);
                yield return verdict;
            }
        }
    }

    /// <summary>"NoNodes", "InsufficientResources" when more room alone would help, else "NoFittingNode".</summary>
    public string Reason(int nodes)
    {
        if (nodes == 0)
        {
            return "NoNodes";
        }

        return _groups.Exists(group => group.Filter is Filters.ResourcesFilter.FilterName or Filters.DevicesFilter.FilterName) ? "InsufficientResources" : "NoFittingNode";
    }

    /// <summary>"2 nodes: 1 is cordoned, 1 has 512 MiB of memory free of the 2 GiB asked for".</summary>
    public string Sentence(int nodes)
    {
        if (nodes == 0)
        {
            return "No node is registered yet; start hypervisor-agent on a machine.";
        }

        // The most frequent reason first; a stable sort keeps the order of appearance among equals.
        var parts = _groups.OrderByDescending(group => group.Count).Take(MaxGroups)
            .Select(group => $"{group.Count} {(group.Count == 1 ? group.First.OfOne : group.First.OfMany)}").ToList();
        var others = _groups.OrderByDescending(group => group.Count).Skip(MaxGroups).Sum(group => group.Count);
        if (others > 0)
        {
            parts.Add($"and {others} others");
        }

        return $"{NodesText(nodes)}: {string.Join(", ", parts)}";
    }

    public static string NodesText(int count) => count == 1 ? "1 node" : $"{count} nodes";

    private sealed class Group(Rejection first, string filter)
    {
        public Rejection First { get; } = first;

        public string Filter { get; } = filter;

        public int Count { get; set; }
    }
}
