using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Nodes;

/// <summary>Everything that can be seen to be wrong with a WhatIf request without a view, at once.</summary>
internal static class WhatIfValidation
{
    public static void Check(WhatIfRequest request, FieldViolations violations)
    {
        RequestChecks.CheckConsistency(request.Consistency, violations);
        var lost = request.LoseNodes.Count + request.LoseZones.Count + request.LoseRegions.Count;
        if (lost + request.Add.Count + request.Place.Count == 0)
        {
            violations.Add("lose_zones", "nothing is asked: say what is lost (lose_nodes, lose_zones, lose_regions), added (add) or placed (place).");
        }

        if (lost > Limits.Trials.Lost)
        {
            violations.Add("lose_nodes", $"has {lost} entries together with lose_zones and lose_regions; at most {Limits.Trials.Lost} are allowed.");
        }

        TextChecks.Count(request.Add.Count, Limits.Trials.Entries, "add", violations);
        TextChecks.Count(request.Place.Count, Limits.Trials.Entries, "place", violations);
        CheckCounts([.. request.Add.Select(added => added.Count)], Limits.Trials.AddedNodes, "nodes", "add", violations);
        CheckCounts([.. request.Place.Select(placed => placed.Count)], Limits.Trials.PlacedInstances, "instances", "place", violations);
        foreach (var (index, added) in request.Add.Take(Limits.Trials.Entries).Index())
        {
            TextChecks.Line(added.Region, Limits.Agents.InventoryCharacters, $"add[{index}].region", violations);
            TextChecks.Line(added.Zone, Limits.Agents.InventoryCharacters, $"add[{index}].zone", violations);
        }

        foreach (var (index, placed) in request.Place.Take(Limits.Trials.Entries).Index())
        {
            Check(placed, $"place[{index}]", violations);
        }
    }

    private static void Check(WhatIfInstances placed, string field, FieldViolations violations)
    {
        Projects.Resolve(placed.Project, violations, $"{field}.project");
        CreateValidation.CheckLabels(placed.Labels, violations, $"{field}.labels");
        if (placed.Spec is null)
        {
            violations.Add($"{field}.spec", "is required.");
            return;
        }

        SpecValidation.Check(placed.Spec, $"{field}.spec", violations);
    }

    private static void CheckCounts(IReadOnlyList<int> counts, int maximum, string what, string field, FieldViolations violations)
    {
        foreach (var (index, count) in counts.Index())
        {
            TextChecks.Range(count, 1, maximum, what, $"{field}[{index}].count", violations);
        }

        var sum = counts.Sum(count => (long)count);
        if (sum > maximum && counts.All(count => count <= maximum))
        {
            violations.Add(field, $"asks for {sum} {what} in all; at most {maximum} are allowed.");
        }
    }
}
