using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Instances;

/// <summary>Protects: constraints that no node could meet, or that say nothing, are refused with the field, its value and what to do.</summary>
public sealed class ConstraintsValidationTests
{
    private static readonly string Long = new('x', 64);

    public static TheoryData<string, string, PlacementConstraints> Wrong => new()
    {
        { "c.region", "'no th' must be empty or 1-63 characters", new() { Region = "no th" } },
        { "c.zone", "'-a' must be empty or 1-63 characters", new() { Zone = "-a" } },
        { "c.preferred_region", $"'{Long}' must be empty or 1-63 characters", new() { PreferredRegion = Long } },
        { "c.preferred_zone", "'a/b' must be empty or 1-63 characters", new() { PreferredZone = "a/b" } },
        { "c.preferred_node", "'Node_1' is not a node's name.", new() { PreferredNode = "Node_1" } },
        { "c.node_selector[-k]", "must be 1-63 characters", new() { NodeSelector = { ["-k"] = "v" } } },
        { "c.node_selector[k]", "must be empty or 1-63 characters", new() { NodeSelector = { ["k"] = "a b" } } },
        { "c.node_selector", "has 17 entries; at most 16 are allowed.", new() { NodeSelector = { Labels(17) } } },
        { "c.preferred_labels[k]", "must be empty or 1-63 characters", new() { PreferredLabels = { ["k"] = "a b" } } },
        { "c.preferred_labels", "has 17 entries; at most 16 are allowed.", new() { PreferredLabels = { Labels(17) } } },
        { "c.strategy", "", new() { Strategy = (PlacementStrategy)9 } },
        { "c.affinity[1].selector", "is required; select instances by their labels, for example app=db.", new() { Affinity = { Term("app=db"), Term("") } } },
        { "c.anti_affinity[0].selector", "is required; select instances by their labels, for example app=db.", new() { AntiAffinity = { Term(" ") } } },
        { "c.affinity[0].selector", "at character 9: expected", new() { Affinity = { Term("app in (") } } },
        {
            "c.affinity[0].topology", "'a b' is neither node, zone or region nor the key of a node label: it must be 1-63 characters",
            new() { Affinity = { Term("app=db", "a b") } }
        },
        { "c.affinity", "has 9 entries; at most 8 are allowed.", new() { Affinity = { Enumerable.Repeat(Term("app=db"), 9) } } },
        { "c.anti_affinity", "has 9 entries; at most 8 are allowed.", new() { AntiAffinity = { Enumerable.Repeat(Term("app=db"), 9) } } },
        { "c.spread[0].selector", "is required; select instances by their labels, for example app=db.", new() { Spread = { new SpreadConstraint() } } },
        { "c.spread[0].topology", "'/x' is neither node, zone or region", new() { Spread = { new SpreadConstraint { Selector = "app=db", Topology = "/x" } } } },
        { "c.spread[0].max_skew", "-1 is outside 1 to 1000.", new() { Spread = { new SpreadConstraint { Selector = "app=db", MaxSkew = -1 } } } },
        { "c.spread[0].max_skew", "1001 is outside 1 to 1000.", new() { Spread = { new SpreadConstraint { Selector = "app=db", MaxSkew = 1001 } } } },
        { "c.spread", "has 5 entries; at most 4 are allowed.", new() { Spread = { Enumerable.Repeat(new SpreadConstraint { Selector = "app=db" }, 5) } } },
        { "c.tolerations[0].key", "'a b': the key must be 1-63 characters", new() { Tolerations = { new Toleration { Key = "a b" } } } },
        { "c.tolerations[0].value", "'a b' must be empty or 1-63 characters", new() { Tolerations = { new Toleration { Key = "a", Value = "a b" } } } },
        {
            "c.tolerations[0].value", "without a key there is no value; name the key, or leave both out to tolerate every taint.",
            new() { Tolerations = { new Toleration { Value = "a" } } }
        },
        { "c.tolerations[0].effect", "", new() { Tolerations = { new Toleration { Key = "a", Effect = (TaintEffect)9 } } } },
        { "c.tolerations", "has 17 entries; at most 16 are allowed.", new() { Tolerations = { Enumerable.Repeat(new Toleration { Key = "a" }, 17) } } },
        {
            "c.anti_affinity[1]", "'app=db' cannot be required in the same node and apart from it; drop this term or the one in affinity, or make one preferred.",
            new() { Affinity = { Term("app=db") }, AntiAffinity = { Term("app=db", "zone"), Term("app=db", "node") } }
        },
    };

    public static TheoryData<PlacementConstraints> Right =>
    [
        new PlacementConstraints(),
        new PlacementConstraints
        {
            Region = "North.1", Zone = "a_b", PreferredRegion = "x", PreferredZone = "y", PreferredNode = "node-1", Strategy = PlacementStrategy.Balanced,
            NodeSelector = { Labels(16) }, PreferredLabels = { Labels(16) },
            Affinity = { Enumerable.Repeat(Term("app=db,tier in (a,b),!canary", "example.com/rack"), 8) },
            AntiAffinity = { Enumerable.Repeat(Term("app", "region"), 8) },
            Spread = { Enumerable.Range(0, 4).Select(index => new SpreadConstraint { Selector = "app=db", MaxSkew = index == 0 ? 0 : index == 1 ? 1 : 1000 }) },
            Tolerations = { Enumerable.Range(0, 15).Select(index => new Toleration { Key = $"k{index}", Value = "v", Effect = TaintEffect.NoExecute }), new Toleration() },
        },

        // One of the two is only preferred, or the places are not the same.
        new PlacementConstraints { Affinity = { Term("app=db") }, AntiAffinity = { Term("app=db", preferred: true) } },
        new PlacementConstraints { Affinity = { Term("app=db", preferred: true) }, AntiAffinity = { Term("app=db") } },
        new PlacementConstraints { Affinity = { Term("app=db", "zone") }, AntiAffinity = { Term("app=db") } },
    ];

    [Theory]
    [MemberData(nameof(Wrong))]
    public void What_is_wrong_is_told_with_its_field(string field, string says, PlacementConstraints constraints)
    {
        var violation = Assert.Single(Check(constraints));

        Assert.Equal(field, violation.Field);
        Assert.Contains(says, violation.Description, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Right))]
    public void What_is_within_its_bounds_is_taken(PlacementConstraints constraints) => Assert.Empty(Check(constraints));

    [Fact]
    public void None_are_none() => Assert.Empty(Check(null));

    [Fact]
    public void Everything_that_is_wrong_is_told_at_once() =>
        Assert.Equal(
            ["c.zone", "c.affinity[0].selector", "c.spread[0].max_skew"],
            Check(new() { Zone = "a b", Affinity = { Term("") }, Spread = { new SpreadConstraint { Selector = "a", MaxSkew = 2000 } } })
                .Select(violation => violation.Field));

    private static IReadOnlyList<FieldViolation> Check(PlacementConstraints? constraints)
    {
        var violations = new FieldViolations();
        ConstraintsValidation.Check(constraints, "c", violations);
        return violations.All;
    }

    private static AffinityTerm Term(string selector, string topology = "", bool preferred = false) =>
        new() { Selector = selector, Topology = topology, Preferred = preferred };

    private static Dictionary<string, string> Labels(int count) => Enumerable.Range(0, count).ToDictionary(index => $"k{index}", _ => "v");
}
