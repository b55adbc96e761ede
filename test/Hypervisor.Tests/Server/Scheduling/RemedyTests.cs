using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Protects: who is told that an instance waits is told the smallest changes that would help, in words and for programs.</summary>
public sealed class RemedyTests
{
    private static readonly Taint Gpu = new() { Key = "gpu", Value = "a100", Effect = TaintEffect.NoSchedule };

    [Fact]
    public void A_cordoned_node_is_to_be_uncordoned_and_a_full_one_asked_for_less()
    {
        var remedies = Find(
            Request(memory: 2 * GiB),
            Node("a", NodeScheduling.Cordoned),
            Node("b", allocated: new(0, (8 * GiB) - (1536L << 20), 0)),
            Node("c", allocated: new(0, (8 * GiB) - (1025L << 20), 0)));

        Assert.Equal(["uncordon a", "ask for at most 1.5 GiB of memory (b)", "add one more node like a"], remedies.Select(remedy => remedy.Text));
        Assert.Equal((RemedyKind.Uncordon, "a"), (remedies[0].Steps[0].Kind, remedies[0].Steps[0].Subject));
        var less = Assert.Single(remedies[1].Steps);
        Assert.Equal((RemedyKind.AskLess, "memory", 512L << 20), (less.Kind, less.Subject, less.Less.MemoryBytes));
        Assert.Equal(["b"], remedies[1].Nodes);
        Assert.Equal((RemedyKind.AddNode, "a", ""), (remedies[2].Steps[0].Kind, remedies[2].Steps[0].Subject, remedies[2].Steps[0].Elsewhere));
        Assert.Empty(remedies[2].Nodes);
    }

    [Fact]
    public void Nodes_that_lack_the_same_are_one_remedy()
    {
        CandidateNode[] nodes = [.. new[] { "a", "b", "c", "d" }.Select(name => Node(name) with { Taints = [Gpu] })];

        var remedy = Find(Request(), nodes)[0];

        Assert.Equal("tolerate the taint gpu=a100:no-schedule (4 nodes)", remedy.Text);
        Assert.Equal(4, remedy.NodesTotal);
        Assert.Equal(["a", "b", "c"], remedy.Nodes);
    }

    [Fact]
    public void What_is_changed_at_a_node_names_one_and_counts_the_others()
    {
        var selector = new[] { ("disk", "ssd") };

        Assert.Equal("add the label disk=ssd to a", Find(Request(selector: selector), Node("a"))[0].Text);
        Assert.Equal("add the label disk=ssd to a, or the same with b", Find(Request(selector: selector), Node("a"), Node("b"))[0].Text);
        Assert.Equal("add the label disk=ssd to a, or the same with one of 2 others", Find(Request(selector: selector), Node("a"), Node("b"), Node("c"))[0].Text);
    }

    [Theory]
    [InlineData(InstanceType.Vm, "", "", "have a working driver for VMs on a")]
    [InlineData(InstanceType.Container, "", "z", "allow another zone than z (a)")]
    [InlineData(InstanceType.Container, "r", "z", "allow another region than r, and allow another zone than z (a)")]
    public void Whatever_refuses_has_its_own_remedy(InstanceType type, string region, string zone, string text) =>
        Assert.Equal(text, Assert.Single(Find(Request(type: type, region: region, zone: zone), Node("a"))).Text);

    [Fact]
    public void A_silent_node_is_to_report_again_and_a_port_to_be_another_one()
    {
        PortClaim port = new(80, IpProtocol.Tcp, "");

        Assert.Equal("have a report again, which is down", Find(Request(), Node("a", liveness: NodeLiveness.Down))[^1].Text);
        Assert.Equal("publish on another port than 80/tcp (a)", Find(Request(ports: [port]), Node("a", ports: [port]))[0].Text);
    }

    /// <summary>Protects: two things that are both in the way are named together, after what is one thing only.</summary>
    [Fact]
    public void Fewest_changes_come_first_and_four_are_too_many()
    {
        var asked = Request(memory: 2 * GiB, selector: [("disk", "ssd")]);
        var far = Node("far", NodeScheduling.Draining, liveness: NodeLiveness.Down, labels: []) with { Taints = [Gpu] };
        var two = Node("two", allocated: new(0, 6 * GiB + (1L << 29), 0)) with { Taints = [Gpu] };

        Assert.Equal(
            ["add the label disk=ssd to one", "tolerate the taint gpu=a100:no-schedule, and ask for at most 1.5 GiB of memory (two)"],
            Find(asked with { NodeSelector = new Dictionary<string, string>() }, two).Select(remedy => remedy.Text).Prepend(Find(asked, Node("one"), two)[0].Text));
        Assert.Empty(Find(asked, far));
    }

    [Fact]
    public void Less_than_half_is_another_instance() =>
        Assert.Equal(["add one more node like a"], Find(Request(memory: 2 * GiB), Node("a", allocated: new(0, 8 * GiB - (1L << 29), 0))).Select(remedy => remedy.Text));

    [Fact]
    public void Of_a_device_that_is_short_fewer_are_to_be_asked_for_or_a_node_like_one_that_has_them_added()
    {
        var asked = Request() with { Devices = Devices(("gpu", 3), ("nic", 2)) };
        var node = Node("a") with { Devices = Devices(("gpu", 4), ("nic", 2)), AllocatedDevices = Devices(("gpu", 2)) };

        var remedies = Find(asked, node, Node("b"));

        Assert.Equal(["ask for at most 2 gpu (a)", "add one more node like a"], remedies.Select(remedy => remedy.Text));
        var less = Assert.Single(remedies[0].Steps);
        Assert.Equal((RemedyKind.AskLess, "devices[gpu]", Devices(("gpu", 1))), (less.Kind, less.Subject, DeviceAmounts.Of(less.Less)));
        Assert.Equal(
            "ask for at most 1.5 GiB of memory, and ask for at most 2 gpu (a)",
            Find(asked with { Reserve = new(100, 2 * GiB, 0) }, node with { Allocated = new(0, (8 * GiB) - (1536L << 20), 0) })[^1].Text);
        Assert.Equal(["add one more node like a"], Find(asked, node with { AllocatedDevices = Devices(("gpu", 3)) }).Select(remedy => remedy.Text));
    }

    [Fact]
    public void Instances_that_keep_apart_by_zone_need_another_zone()
    {
        var apart = new NeighbourTerm("app=db", Hypervisor.Server.Api.Lists.LabelSelector.Parse("app=db"), "zone", Preferred: false);
        var asked = Request() with { Project = "p", Labels = new Dictionary<string, string> { ["app"] = "db" }, AntiAffinity = [apart] };
        var nodes = new[] { Node("a", zone: "a"), Node("b", zone: "b") };
        var placed = nodes.Select(node => new PlacedInstance(node.Id, "p", asked.Labels, [apart])).ToList();

        var remedy = Assert.Single(RemedyFinder.Find(asked, View(nodes) with { Placed = placed }));

        Assert.Equal("add one more node like a, in another zone", remedy.Text);
        Assert.Equal("zone", remedy.Steps[0].Elsewhere);
    }

    [Fact]
    public void A_text_is_bounded()
    {
        var name = new string('n', 63);
        var taints = Enumerable.Range(0, 3).Select(number => new Taint { Key = $"{new string('k', 60)}{number}", Effect = TaintEffect.NoSchedule });

        var text = Find(Request(), Node(name) with { Taints = [.. taints] })[0].Text;

        Assert.Equal(200, text.Length);
        Assert.EndsWith($"… ({name})", text, StringComparison.Ordinal);
    }

    [Fact]
    public void An_empty_fleet_has_no_remedy_but_what_its_message_says() => Assert.Empty(Find(Request()));

    private static IReadOnlyList<PlacementRemedy> Find(PlacementRequest request, params CandidateNode[] nodes) => RemedyFinder.Find(request, View(nodes));

    private static FleetView View(params CandidateNode[] nodes) => new(ResourceVersion.Of(Incarnation.First, 7), nodes);
}
