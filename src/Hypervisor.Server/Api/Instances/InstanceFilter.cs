using System.Collections.Immutable;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.State;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Which instances a list or a watch is about.</summary>
/// <param name="Project">Null means all projects.</param>
/// <param name="Node">Name; empty means any.</param>
/// <param name="Only">One instance alone.</param>
internal sealed record InstanceFilter(
    string? Project,
    LabelSelector Labels,
    ImmutableArray<InstanceState> States,
    ImmutableArray<InstanceType> Types,
    string Node,
    InstanceId? Only = null)
{
    public static InstanceFilter Parse(
        string project,
        string labelSelector,
        IEnumerable<InstanceState> states,
        IEnumerable<InstanceType> types,
        string node,
        FieldViolations violations)
    {
        var labels = RequestChecks.Selector(labelSelector, violations);
        foreach (var (state, index) in states.Select((state, index) => (state, index)))
        {
            if (state == InstanceState.Unspecified || !Enum.IsDefined(state))
            {
                violations.Add($"states[{index}]", $"{(int)state} is not a state; leave the list empty for all.");
            }
        }

        foreach (var (type, index) in types.Select((type, index) => (type, index)))
        {
            if (type == InstanceType.Unspecified || !Enum.IsDefined(type))
            {
                violations.Add($"types[{index}]", $"{(int)type} is not an instance type; leave the list empty for all.");
            }
        }

        if (node.Length > 0 && !LabelSyntax.IsDnsLabel(node))
        {
            violations.Add("node", $"'{Printable.Quote(node)}' is not a node name.");
        }

        return new(
            project == Projects.All ? null : Projects.Resolve(project, violations),
            labels,
            [.. states.Distinct().Order()],
            [.. types.Distinct().Order()],
            node);
    }

    /// <summary>Tells one filter from another.</summary>
    public string Fingerprint(string labelSelector) =>
        $"instances|{Project ?? Projects.All}|{string.Join(',', States.Select(state => (int)state))}|"
        + $"{string.Join(',', Types.Select(type => (int)type))}|{Node}|{labelSelector}";

    public bool Matches(InstanceEntry entry) =>
        (Project is null || entry.Project == Project)
        && (Only is not { } only || entry.Id == only)
        && (Types.Length == 0 || Types.Contains(entry.Type))
        && (Node.Length == 0 || entry.Node?.Name == Node)
        && (States.Length == 0 || States.Contains(InstanceView.StateOf(entry)))
        && Labels.Matches(entry.Labels);
}
