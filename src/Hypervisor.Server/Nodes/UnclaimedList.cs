using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Nodes;

/// <summary>What a node holds that nobody knows, kept across reports that do not speak of everything.</summary>
internal static class UnclaimedList
{
    /// <summary>
    /// The reported ones, and of the recorded ones those that the node cannot speak of yet: a runtime that does not answer has
    /// lost nothing. Sorted by uid, as agents report them.
    /// </summary>
    public static IReadOnlyList<UnclaimedInstance> After(IReadOnlyCollection<UnclaimedInstance> recorded, UnclaimedReport report)
    {
        var reported = report.Instances.Select(instance => instance.Uid).ToHashSet(StringComparer.Ordinal);
        List<UnclaimedInstance> kept =
        [
            .. recorded
                .Where(instance => report.UnansweredTypes.Contains(instance.Type) && !reported.Contains(instance.Uid))
                .Take(Math.Max(0, Limits.Agents.Unclaimed - report.Instances.Count))
                .Select(instance => instance.Clone()),
        ];
        if (kept.Count == 0)
        {
            return report.Instances;
        }

        if (report.CalculateSize() + kept.Sum(instance => instance.CalculateSize()) > Limits.Agents.UnclaimedBytes)
        {
            // Their runtime tells it again when it answers; until then they can be seen and purged.
            foreach (var instance in kept)
            {
                instance.Spec = null;
                instance.Labels.Clear();
            }
        }

        return [.. report.Instances.Concat(kept).OrderBy(instance => instance.Uid, StringComparer.Ordinal)];
    }
}
