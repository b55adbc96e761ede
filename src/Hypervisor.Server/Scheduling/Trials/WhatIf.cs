using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>Changes that are tried together.</summary>
internal sealed record WhatIfChanges(
    IReadOnlySet<NodeId> Lost,
    IReadOnlyList<(CandidateNode Like, int Count)> Added,
    IReadOnlyList<(PlacementRequest Request, int Count)> Placed);

/// <summary>Tries changes on a copy of the fleet. A pure function of the view.</summary>
internal static class WhatIf
{
    /// <summary>As in the answer.</summary>
    public const int MaxZones = 256;

    /// <exception cref="OperationCanceledException"/>
    public static WhatIfResponse Try(ClusterView view, WhatIfChanges changes, PlacementStrategy clusterDefault, CancellationToken cancellationToken)
    {
        var fleet = new TrialFleet(view, changes.Lost, clusterDefault);
        cancellationToken.ThrowIfCancellationRequested();
        var before = ZoneTotals.Of(view);
        foreach (var (like, count) in changes.Added)
        {
            for (var number = 0; number < count; number++)
            {
                fleet.Add(like);
            }
        }

        var response = new WhatIfResponse
        {
            ResourceVersion = view.ResourceVersion.Value,
            NodesLost = changes.Lost.Count,
            NodesAdded = changes.Added.Sum(added => added.Count),
            NodesTotal = fleet.NodeCount,
        };
        var (displaced, waiting) = (new TrialTally(), new TrialTally());
        foreach (var instance in Failover.Homeless(view, changes.Lost, waiting: true))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var why = Failover.Place(fleet, instance, out var node);
            (instance.NodeId is null ? waiting : displaced).Count(() => instance.ListKey, why, node);
        }

        (response.Displaced, response.Waiting) = (displaced.ToMessage(), waiting.ToMessage());
        foreach (var (index, (request, count)) in changes.Placed.Index())
        {
            var placed = new TrialTally();
            for (var number = 1; number <= count; number++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var (each, shown) = (request with { Instance = new($"what-if-{index}-{number}") }, number);
                placed.Count(() => $"{shown}", fleet.Place(each, out var node), node);
            }

            response.Placed.Add(placed.ToMessage());
        }

        var after = ZoneTotals.Of(fleet.Nodes());
        response.Zones.AddRange(ZoneTotals.Compare(before, after).Take(MaxZones));
        response.ZonesTotal = before.Keys.Union(after.Keys).Count();
        return response;
    }
}
