using Hypervisor.Protocol.V1;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Scheduling.Trials;

/// <summary>A zone, or what is in none.</summary>
internal readonly record struct ZoneName(string Region, string Zone) : IComparable<ZoneName>
{
    public static ZoneName Of(NodeInventory inventory) => new(inventory.Region, inventory.Zone);

    public int CompareTo(ZoneName other)
    {
        var byRegion = string.CompareOrdinal(Region, other.Region);
        return byRegion != 0 ? byRegion : string.CompareOrdinal(Zone, other.Zone);
    }

    /// <summary>"eu/b", "b".</summary>
    public override string ToString() => Topology.TextOf($"{Region}/{Zone}");
}

/// <summary>What the nodes of a zone that take instances have in all, and have free.</summary>
internal readonly record struct ZoneTotals(int Nodes, ResourceAmount Allocatable, ResourceAmount Free)
{
    public static SortedDictionary<ZoneName, ZoneTotals> Of(ClusterView view) => Sum(
        view.Nodes.Where(node => node.Inventory is not null).Select(node => (
            ZoneName.Of(node.Inventory!), node.Scheduling, node.Liveness, node.Allocatable,
            node.Allocatable - ResourceAmount.Of(node.Allocated.ToResources()))));

    public static SortedDictionary<ZoneName, ZoneTotals> Of(IEnumerable<CandidateNode> nodes) =>
        Sum(nodes.Select(node => (ZoneName.Of(node.Inventory), node.Scheduling, node.Liveness, node.Capacity, node.Free)));

    /// <summary>By region and zone.</summary>
    public static IEnumerable<WhatIfZone> Compare(SortedDictionary<ZoneName, ZoneTotals> before, SortedDictionary<ZoneName, ZoneTotals> after) =>
        before.Keys.Union(after.Keys).Order().Select(name => (name, Before: before.GetValueOrDefault(name), After: after.GetValueOrDefault(name)))
            .Select(zone => new WhatIfZone
            {
                Region = zone.name.Region,
                Zone = zone.name.Zone,
                NodesBefore = zone.Before.Nodes,
                NodesAfter = zone.After.Nodes,
                Allocatable = zone.After.Allocatable.ToResources(),
                FreeBefore = zone.Before.Free.ToResources(),
                FreeAfter = zone.After.Free.ToResources(),
            });

    private static SortedDictionary<ZoneName, ZoneTotals> Sum(
        IEnumerable<(ZoneName Name, NodeScheduling Scheduling, NodeLiveness Liveness, ResourceAmount Allocatable, ResourceAmount Free)> nodes)
    {
        var zones = new SortedDictionary<ZoneName, ZoneTotals>();
        foreach (var node in nodes)
        {
            var known = zones.GetValueOrDefault(node.Name);
            zones[node.Name] = node is { Liveness: NodeLiveness.Ready, Scheduling: NodeScheduling.Schedulable or NodeScheduling.Unspecified }
                ? new(known.Nodes + 1, known.Allocatable + node.Allocatable, known.Free + node.Free.Beyond(default))
                : known;
        }

        return zones;
    }
}
