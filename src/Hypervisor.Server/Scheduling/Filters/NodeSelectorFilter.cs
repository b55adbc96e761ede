using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling.Filters;

/// <summary>Every label that the instance asks for is on the node with that value.</summary>
internal sealed class NodeSelectorFilter : IPlacementFilter
{
    public string Name => "NodeSelector";

    public Rejection? Judge(PlacementRequest request, CandidateNode node)
    {
        if (request.NodeSelector.Count == 0)
        {
            return null;
        }

        // The smallest missing key, so that the same request is explained the same way every time.
        string? missing = null;
        foreach (var (key, value) in request.NodeSelector)
        {
            if ((!node.Labels.TryGetValue(key, out var actual) || actual != value) &&
                (missing is null || string.CompareOrdinal(key, missing) < 0))
            {
                missing = key;
            }
        }

        if (missing is null)
        {
            return null;
        }

        var label = $"{missing}={request.NodeSelector[missing]}";
        return new($"lacks the label {label}", $"lack the label {label}");
    }

    public IReadOnlyList<Remedy> Remedies(PlacementRequest request, CandidateNode node) =>
    [
        .. request.NodeSelector
            .Where(label => !node.Labels.TryGetValue(label.Key, out var actual) || actual != label.Value)
            .OrderBy(label => label.Key, StringComparer.Ordinal)
            .Select(label => new Remedy(RemedyKind.AddLabel, $"{label.Key}={label.Value}", $"add the label {label.Key}={label.Value} to {node.Name}")
            {
                OnNode = changed => changed with { Labels = new Dictionary<string, string>(changed.Labels, StringComparer.Ordinal) { [label.Key] = label.Value } },
            }),
    ];
}
