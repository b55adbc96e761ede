namespace Hypervisor.Server.Scheduling;

/// <summary>What makes nodes one place.</summary>
internal static class Topology
{
    public const string Node = "node";
    public const string Zone = "zone";
    public const string Region = "region";

    /// <summary>The place that a node is part of; null when it is part of none.</summary>
    /// <param name="topology">"node", "zone", "region" or the key of a label.</param>
    public static string? PlaceOf(CandidateNode node, string topology) => topology switch
    {
        Node => node.Name,
        Region => NullIfEmpty(node.Inventory.Region),

        // Two regions may both call one of theirs "a".
        Zone => node.Inventory.Zone.Length == 0 ? null : $"{node.Inventory.Region}/{node.Inventory.Zone}",
        _ => node.Labels.TryGetValue(topology, out var value) ? NullIfEmpty(value) : null,
    };

    /// <summary>The node as part of another place of the kind.</summary>
    public static CandidateNode Moved(CandidateNode node, string topology, string place)
    {
        var moved = node with { Inventory = node.Inventory.Clone() };
        switch (topology)
        {
            case Region:
                moved.Inventory.Region = place;
                return moved;
            case Zone:
                moved.Inventory.Zone = place;
                return moved;
            default:
                return moved with { Labels = new Dictionary<string, string>(node.Labels, StringComparer.Ordinal) { [topology] = place } };
        }
    }

    /// <summary>For people: a zone of no region has nothing before it.</summary>
    public static string TextOf(string place) => place.TrimStart('/');

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;
}
