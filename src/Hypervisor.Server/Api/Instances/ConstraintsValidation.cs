using Google.Protobuf.Collections;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Scheduling;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Where an instance may be: what can be known to be wrong from the request alone.</summary>
internal static class ConstraintsValidation
{
    public static void Check(PlacementConstraints? constraints, string field, FieldViolations violations)
    {
        if (constraints is null)
        {
            return;
        }

        foreach (var (name, value) in new[]
        {
            ("region", constraints.Region), ("zone", constraints.Zone),
            ("preferred_region", constraints.PreferredRegion), ("preferred_zone", constraints.PreferredZone),
        })
        {
            if (LabelSyntax.ValueProblem(value) is { } problem)
            {
                violations.Add($"{field}.{name}", $"'{Printable.Quote(value)}' {problem}.");
            }
        }

        if (constraints.PreferredNode.Length > 0 && !LabelSyntax.IsDnsLabel(constraints.PreferredNode))
        {
            violations.Add($"{field}.preferred_node", $"'{Printable.Quote(constraints.PreferredNode)}' is not a node's name.");
        }

        TextChecks.Count(constraints.NodeSelector.Count, Limits.Instance.NodeSelector, $"{field}.node_selector", violations);
        CreateValidation.CheckLabels(constraints.NodeSelector, violations, $"{field}.node_selector");
        TextChecks.Count(constraints.PreferredLabels.Count, Limits.Instance.NodeSelector, $"{field}.preferred_labels", violations);
        CreateValidation.CheckLabels(constraints.PreferredLabels, violations, $"{field}.preferred_labels");
        TextChecks.Known(constraints.Strategy, $"{field}.strategy", violations);
        TextChecks.Known(constraints.Rebalance, $"{field}.rebalance", violations);
        TextChecks.Range(constraints.Priority, -Limits.Instance.Priority, Limits.Instance.Priority, "", $"{field}.priority", violations);
        CheckTerms(constraints.Affinity, $"{field}.affinity", violations);
        CheckTerms(constraints.AntiAffinity, $"{field}.anti_affinity", violations);
        CheckSpread(constraints.Spread, $"{field}.spread", violations);
        CheckTolerations(constraints.Tolerations, $"{field}.tolerations", violations);
        CheckContradictions(constraints, field, violations);
    }

    private static void CheckTerms(RepeatedField<AffinityTerm> terms, string field, FieldViolations violations)
    {
        TextChecks.Count(terms.Count, Limits.Instance.AffinityTerms, field, violations);
        for (var index = 0; index < Math.Min(terms.Count, Limits.Instance.AffinityTerms); index++)
        {
            CheckSelector(terms[index].Selector, $"{field}[{index}].selector", violations);
            CheckTopology(terms[index].Topology, $"{field}[{index}].topology", violations);
        }
    }

    private static void CheckSpread(RepeatedField<SpreadConstraint> spread, string field, FieldViolations violations)
    {
        TextChecks.Count(spread.Count, Limits.Instance.SpreadConstraints, field, violations);
        for (var index = 0; index < Math.Min(spread.Count, Limits.Instance.SpreadConstraints); index++)
        {
            CheckSelector(spread[index].Selector, $"{field}[{index}].selector", violations);
            CheckTopology(spread[index].Topology, $"{field}[{index}].topology", violations);
            if (spread[index].MaxSkew != 0)
            {
                TextChecks.Range(spread[index].MaxSkew, 1, Limits.Instance.MaxSkew, "", $"{field}[{index}].max_skew", violations);
            }
        }
    }

    private static void CheckTolerations(RepeatedField<Toleration> tolerations, string field, FieldViolations violations)
    {
        TextChecks.Count(tolerations.Count, Limits.Instance.Tolerations, field, violations);
        for (var index = 0; index < Math.Min(tolerations.Count, Limits.Instance.Tolerations); index++)
        {
            var toleration = tolerations[index];
            if (toleration.Key.Length > 0 && LabelSyntax.KeyProblem(toleration.Key) is { } keyProblem)
            {
                violations.Add($"{field}[{index}].key", $"'{Printable.Quote(toleration.Key)}': the key {keyProblem}.");
            }

            if (LabelSyntax.ValueProblem(toleration.Value) is { } valueProblem)
            {
                violations.Add($"{field}[{index}].value", $"'{Printable.Quote(toleration.Value)}' {valueProblem}.");
            }
            else if (toleration.Key.Length == 0 && toleration.Value.Length > 0)
            {
                violations.Add($"{field}[{index}].value", "without a key there is no value; name the key, or leave both out to tolerate every taint.");
            }

            TextChecks.Known(toleration.Effect, $"{field}[{index}].effect", violations);
        }
    }

    private static void CheckSelector(string selector, string field, FieldViolations violations)
    {
        try
        {
            if (LabelSelector.Parse(selector).Requirements.Count == 0)
            {
                violations.Add(field, "is required; select instances by their labels, for example app=db.");
            }
        }
        catch (LabelSelectorException exception)
        {
            violations.Add(field, exception.Message);
        }
    }

    private static void CheckTopology(string topology, string field, FieldViolations violations)
    {
        if (topology.Length > 0 && LabelSyntax.KeyProblem(topology) is { } problem)
        {
            violations.Add(field, $"'{Printable.Quote(topology)}' is neither node, zone or region nor the key of a node label: it {problem}.");
        }
    }

    /// <summary>What no node of any cluster can be.</summary>
    private static void CheckContradictions(PlacementConstraints constraints, string field, FieldViolations violations)
    {
        for (var index = 0; index < Math.Min(constraints.AntiAffinity.Count, Limits.Instance.AffinityTerms); index++)
        {
            var apart = constraints.AntiAffinity[index];
            if (!apart.Preferred && constraints.Affinity.Any(
                term => !term.Preferred && term.Selector == apart.Selector && TopologyOf(term) == TopologyOf(apart)))
            {
                violations.Add(
                    $"{field}.anti_affinity[{index}]",
                    $"'{Printable.Quote(apart.Selector)}' cannot be required in the same {TopologyOf(apart)} and apart from it; drop this term or the one in affinity, or make one preferred.");
            }
        }
    }

    private static string TopologyOf(AffinityTerm term) => term.Topology.Length == 0 ? Topology.Node : term.Topology;
}
