using Hypervisor.Protocol;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Nodes;

/// <summary>Labels of a node, from its agent or from an operator.</summary>
internal static class LabelRules
{
    public static void Check(IReadOnlyCollection<KeyValuePair<string, string>> labels, string field, FieldViolations violations)
    {
        if (labels.Count > Limits.Agents.Labels)
        {
            violations.Add(field, $"has {labels.Count} entries; at most {Limits.Agents.Labels}");
            return;
        }

        foreach (var (key, value) in labels.OrderBy(label => label.Key, StringComparer.Ordinal))
        {
            if (LabelSyntax.KeyProblem(key) is { } keyProblem)
            {
                violations.Add($"{field}[{Printable.Quote(key)}]", $"the key {keyProblem}");
            }
            else if (LabelSyntax.ValueProblem(value) is { } valueProblem)
            {
                violations.Add($"{field}[{key}]", $"'{Printable.Quote(value)}' {valueProblem}");
            }
        }
    }
}
