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
}
