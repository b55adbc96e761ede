using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>What would come of the loss of one zone.</summary>
/// <param name="Instances">On its nodes.</param>
/// <param name="Unplaceable">So many of them would have no node.</param>
/// <param name="Reason">CamelCase, of the most of those; empty when there are none.</param>
/// <param name="Message">Likewise.</param>
internal sealed record ZoneLossVerdict(ZoneName Zone, int Instances, int Unplaceable, string Reason, string Message);

/// <summary>Tries the loss of zones on copies of the fleet. Pure.</summary>
internal static class ZoneLoss
{
    public const string ConditionType = "ZoneLossTolerated";

    /// <summary>In words only once: why the first of them fits nowhere.</summary>
    private const int Reasons = 1;

    /// <summary>All that nodes are in, by region and name.</summary>
    public static IReadOnlyList<ZoneName> ZonesOf(ClusterView view) =>
        [.. view.Nodes.Where(node => node.Inventory is { Zone.Length: > 0 }).Select(node => ZoneName.Of(node.Inventory!)).Distinct().Order()];

    /// <exception cref="OperationCanceledException"/>
    public static ZoneLossVerdict Try(ClusterView view, ZoneName zone, PlacementStrategy clusterDefault, CancellationToken cancellationToken)
    {
        var lost = view.Nodes.Where(node => node.Inventory is { } inventory && ZoneName.Of(inventory) == zone).Select(node => node.Id).ToHashSet();
        var fleet = new TrialFleet(view, lost, clusterDefault, Reasons);
        var tally = new TrialTally();
        foreach (var instance in Failover.Homeless(view, lost, waiting: false))
        {
            cancellationToken.ThrowIfCancellationRequested();
            tally.Count(() => instance.ListKey, Failover.Place(fleet, instance, out var node), node);
        }

        var outcome = tally.ToMessage();
        var most = outcome.Refusals.FirstOrDefault();
        return new(zone, outcome.Instances, outcome.Instances - outcome.Fitting, most?.Reason ?? "", most?.Message ?? "");
    }

    /// <summary>Without a time.</summary>
    /// <param name="verdicts">Of the zones that were looked at.</param>
    /// <param name="zones">That there are.</param>
    public static Condition ConditionOf(IReadOnlyList<ZoneLossVerdict> verdicts, int zones)
    {
        if (zones < 2)
        {
            return Of(
                ConditionStatus.Unknown, "OneZone",
                zones == 0 ? "No node says in which zone it is." : "All nodes that are in a zone are in the same one: its loss is that of all of them.");
        }

        var unseen = verdicts.Count < zones ? $" Only {verdicts.Count} of {zones} zones were looked at, the first by name." : "";
        var worst = verdicts.Where(verdict => verdict.Unplaceable > 0).OrderByDescending(verdict => verdict.Unplaceable).ToList();
        if (worst.Count == 0)
        {
            return Of(ConditionStatus.True, "Spare", $"Whichever zone is lost, all instances of it would have a node elsewhere.{unseen}");
        }

        var others = worst.Count switch
        {
            1 => "",
            2 => $" Nor could zone {worst[1].Zone} be lost.",
            _ => $" Nor could {worst.Count - 1} other zones be lost.",
        };
        return Of(
            ConditionStatus.False, worst[0].Reason,
            $"Without zone {worst[0].Zone}, {worst[0].Unplaceable} of its {worst[0].Instances} instances would have no node: {worst[0].Message.TrimEnd('.')}.{others}{unseen}");
    }

    private static Condition Of(ConditionStatus status, string reason, string message) =>
        new() { Type = ConditionType, Status = status, Reason = reason, Message = message };
}
