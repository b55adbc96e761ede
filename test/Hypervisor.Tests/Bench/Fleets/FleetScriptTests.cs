using Hypervisor.Bench.Fleets;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Yaml;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.Tests.Bench.Fleets;

/// <summary>Protects whoever writes a fleet's script: it means what it says, and a mistake is named with its line, value and remedy.</summary>
public sealed class FleetScriptTests
{
    [Fact]
    public void The_example_is_a_script()
    {
        var script = FleetScriptLoader.LoadFile(Path.Combine(LocalCluster.Repository, "configs/fleet.example.yaml"));

        var nodes = script.Nodes(100, "sim");
        Assert.Equal(100, nodes.Count);
        Assert.Equal(75, nodes.Count(node => node.Pool.Cpus == 16));
        Assert.Equal(["sim-00000", "sim-00099"], [nodes[0].Name, nodes[^1].Name]);
        Assert.Equal(25, nodes.Count(node => node.Zone == "b"));
        Assert.Equal([Conduct.Dead, Conduct.Slow, Conduct.Normal], script.Events.Select(each => each.Conduct));
        Assert.Equal(25, script.Events[0].Select(nodes, script.Seed).Count);
        Assert.Equal(12, script.Events[1].Select(nodes, script.Seed).Count);
        Assert.Equal(script.Events[1].Select(nodes, script.Seed), script.Events[1].Select(nodes, script.Seed));
        Assert.Equal((TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(2)), (nodes[0].Pool.Start.Least, nodes[0].Pool.Start.Most));
    }

    [Fact]
    public void An_empty_script_is_one_pool_without_events()
    {
        var script = Parse("");

        Assert.Equal(3, script.Nodes(3, "n").Count);
        Assert.Empty(script.Events);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(1000)]
    public void The_pools_share_all_nodes(int count)
    {
        var script = Parse("pools:\n- share: 1\n- share: 2\n  cpus: 8\n- share: 4\n  cpus: 4\n");

        Assert.Equal(count, script.Nodes(count, "n").Select(node => node.Name).Distinct().Count());
    }

    [Theory]
    [InlineData("pools:\n- share: 0", "fleet.yaml:2: pools[0].share: is out of range (0) – 1 to 100000")]
    [InlineData("pools:\n- cpu: 4", "fleet.yaml:2: pools[0].cpu: is not a known key – did you mean \"cpus\"?")]
    [InlineData("pools:\n- start: 2s-1s", "fleet.yaml:2: pools[0].start: ends before it begins (2s-1s) – write 1s-2s")]
    [InlineData("pools:\n- start: soon", "fleet.yaml:2: pools[0].start: is not a duration (soon) – write a duration as 200ms, or a range as 200ms-2s, up to 10m")]
    [InlineData("pools:\n- zones: [A]", "fleet.yaml:2: pools[0].zones: is not an RFC 1123 label (A) – 1-63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit")]
    [InlineData("events:\n- at: 1s", "fleet.yaml:1: events: is missing – write what happens: silence, die, refuse, slow or return")]
    [InlineData("events:\n- do: die", "fleet.yaml:1: events: is missing – write when it happens, 30s")]
    [InlineData("events:\n- {at: 1s, do: die, zone: x}", "fleet.yaml:2: events[0].zone: is of no pool (x) – write the zone of a pool")]
    [InlineData("events:\n- {at: 1s, do: return, for: 2s}", "fleet.yaml:2: events[0].for: says how long a return lasts – remove it: a return is for good")]
    [InlineData("events:\n- {at: 1s, do: die, percent: 101}", "fleet.yaml:2: events[0].percent: is out of range (101) – 1 to 100")]
    public void A_mistake_is_named_with_its_line_value_and_remedy(string text, string expected)
    {
        var refused = Assert.Throws<ConfigurationException>(() => Parse(text));

        Assert.Contains(expected, refused.Errors);
    }

    [Fact]
    public void A_script_that_is_not_there_is_named()
    {
        var refused = Assert.Throws<ConfigurationException>(() => FleetScriptLoader.LoadFile("/nowhere/fleet.yaml"));

        Assert.StartsWith("/nowhere/fleet.yaml: cannot be read", refused.Message);
    }

    private static FleetScript Parse(string text) => FleetScriptLoader.Parse(YamlDocument.Load(text, "fleet.yaml"));
}
