using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>Regions and zones as users name them.</summary>
internal static class WhatIfNames
{
    /// <summary>More names than this end in "and N more".</summary>
    private const int MaxNames = 10;

    /// <param name="name">"b", where only one region has such a zone, or "eu/b".</param>
    public static IReadOnlyList<NodeId> InZone(ClusterView view, string name, string field, FieldViolations violations)
    {
        var nodes = Located(view).Where(node => node.Place.Zone.Length > 0 && (node.Place.Zone == name || node.Place.ToString() == name)).ToList();
        var zones = nodes.Select(node => node.Place).Distinct().Order().ToList();
        if (zones.Count == 1)
        {
            return [.. nodes.Select(node => node.Id)];
        }

        violations.Add(field, zones.Count == 0
            ? Unknown("zone", name, Located(view).Where(node => node.Place.Zone.Length > 0).Select(node => node.Place.ToString()))
            : $"'{Printable.Quote(name)}' is a zone of several regions; write one of {string.Join(", ", zones.Take(MaxNames))}.");
        return [];
    }

    public static IReadOnlyList<NodeId> InRegion(ClusterView view, string name, string field, FieldViolations violations)
    {
        List<NodeId> nodes = [.. Located(view).Where(node => name.Length > 0 && node.Place.Region == name).Select(node => node.Id)];
        if (nodes.Count == 0)
        {
            violations.Add(field, Unknown("region", name, Located(view).Where(node => node.Place.Region.Length > 0).Select(node => node.Place.Region)));
        }

        return nodes;
    }

    private static IEnumerable<(NodeId Id, ZoneName Place)> Located(ClusterView view) =>
        view.Nodes.Where(node => node.Inventory is not null).Select(node => (node.Id, ZoneName.Of(node.Inventory!)));

    private static string Unknown(string kind, string name, IEnumerable<string> known)
    {
        var names = known.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        var shown = string.Join(", ", names.Take(MaxNames)) + (names.Count > MaxNames ? $" and {names.Count - MaxNames} more" : "");
        return $"no node is in {kind} '{Printable.Quote(name)}'; {(names.Count == 0 ? $"none has a {kind} at all." : $"there are {shown}.")}";
    }
}
