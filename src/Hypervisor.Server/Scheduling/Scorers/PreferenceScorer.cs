using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling.Filters;

namespace Hypervisor.Server.Scheduling.Scorers;

/// <summary>One for each preference of the node itself that is met.</summary>
internal sealed class PreferenceScorer : IPlacementScorer
{
    /// <summary>More than all others together: at most 16 labels, region, zone and 20 terms.</summary>
    public const double ThatNode = 64;

    public string Name => "Preferred";

    public double Score(PlacementRequest request, CandidateNode node)
    {
        var preferred = request.Preferred;
        if (preferred.IsNone)
        {
            return 0;
        }

        var met = preferred.Node.Length > 0 && preferred.Node == node.Name ? ThatNode : 0;
        met += preferred.Region.Length > 0 && preferred.Region == node.Inventory.Region ? 1 : 0;
        met += preferred.Zone.Length > 0 && preferred.Zone == node.Inventory.Zone ? 1 : 0;
        foreach (var (key, value) in preferred.Labels)
        {
            met += node.Labels.TryGetValue(key, out var actual) && actual == value ? 1 : 0;
        }

        return met;
    }
}

/// <summary>Puts nodes that are to be avoided after all others.</summary>
internal sealed class TaintScorer : IPlacementScorer
{
    /// <summary>More than all preferences together.</summary>
    public const double Avoided = -1024;

    public string Name => "Taints";

    public double Score(PlacementRequest request, CandidateNode node)
    {
        foreach (var taint in node.Taints)
        {
            if (taint.Effect == TaintEffect.PreferNoSchedule && !TaintFilter.IsTolerated(taint, request.Tolerations))
            {
                return Avoided;
            }
        }

        return 0;
    }
}

/// <summary>Keeps nodes with devices for those who ask for one: where these are all in use, CPUs and memory have to be left for them.</summary>
internal sealed class DeviceScorer : IPlacementScorer
{
    /// <summary>As much as a preference, so that no strategy outweighs it, and no more: a full fleet is worse.</summary>
    public const double Spared = -1;

    public string Name => "Devices";

    public double Score(PlacementRequest request, CandidateNode node) => node.Devices.IsNone || request.Devices.Overlaps(node.Devices) ? 0 : Spared;
}
