using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Protects: who is chosen, and that every decision explains itself.</summary>
public sealed class SchedulerTests
{
    [Fact]
    public void What_cannot_be_placed_says_why_as_a_person_would()
    {
        var decision = Decide(
            Request(memory: 2 * GiB),
            Node("a", NodeScheduling.Cordoned),
            Node("b", allocated: new(0, (8 * GiB) - (512L << 20), 0)));

        Assert.Null(decision.Node);
        Assert.Equal("InsufficientResources", decision.Reason);
        Assert.Equal("2 nodes: 1 is cordoned, 1 has 512 MiB of memory free of the 2 GiB asked for", decision.Message);
    }

    [Fact]
    public void Equal_reasons_are_counted_together_and_the_most_frequent_comes_first()
    {
        var decision = Decide(Request(memory: 9 * GiB), Node("a", NodeScheduling.Cordoned), Node("b"), Node("c"));

        Assert.Equal("3 nodes: 2 have less than the 9 GiB of memory asked for, 1 is cordoned", decision.Message);
    }

    [Fact]
    public void An_empty_fleet_says_what_to_do()
    {
        var decision = Decide(Request());

        Assert.Equal("NoNodes", decision.Reason);
        Assert.Contains("hypervisor-agent", decision.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Constraints_that_no_room_would_help_are_not_called_a_lack_of_resources() =>
        Assert.Equal("NoFittingNode", Decide(Request(zone: "z2"), Node("a", zone: "z1")).Reason);

    [Fact]
    public void A_receipt_counts_verdicts_with_three_examples_and_keeps_three_candidates()
    {
        var nodes = Enumerable.Range(0, 5).Select(i => Node($"c{i}", NodeScheduling.Cordoned))
            .Concat(Enumerable.Range(0, 5).Select(i => Node($"n{i}"))).ToArray();

        var receipt = Decide(Request("i-1"), nodes).Receipt;

        Assert.Equal("i-1", receipt.InstanceUid);
        Assert.Equal(10, receipt.NodesConsidered);
        Assert.Equal("n0", receipt.Node);
        Assert.Equal(PlacementStrategy.Spread, receipt.Strategy);
        Assert.Equal(Now, receipt.DecidedAt.ToDateTimeOffset());
        var verdict = Assert.Single(receipt.Filters);
        Assert.Equal(("Scheduling", 5), (verdict.Filter, verdict.NodesRemoved));
        Assert.Equal(["c0 is cordoned", "c1 is cordoned", "c2 is cordoned"], verdict.Examples);
        Assert.Equal(["n0", "n1", "n2"], receipt.Candidates.Select(candidate => candidate.Node));
        Assert.All(receipt.Candidates, candidate => Assert.Equal(candidate.Score, candidate.Parts["Spread"]));
    }

    [Fact]
    public void Spread_takes_the_emptiest_and_bin_pack_the_fullest_that_fits()
    {
        CandidateNode[] nodes =
        [
            Node("empty"),
            Node("half", allocated: new(2000, 4 * GiB, 0), instances: 1),
            Node("full", allocated: new(4000, 8 * GiB, 0), instances: 2),
        ];

        Assert.Equal("empty", Decide(Request(strategy: PlacementStrategy.Spread), nodes).Node!.Name);
        Assert.Equal("half", Decide(Request(strategy: PlacementStrategy.Binpack), nodes).Node!.Name);
    }

    [Fact]
    public void A_node_with_devices_is_spared_for_those_who_ask_for_one()
    {
        CandidateNode[] nodes = [Node("gpu") with { Devices = Devices(("gpu", 1)) }, Node("half", allocated: new(2000, 4 * GiB, 0), instances: 5)];

        Assert.Equal("half", Decide(Request(), nodes).Node!.Name);
        Assert.Equal("gpu", Decide(Request() with { Devices = Devices(("gpu", 1)) }, nodes).Node!.Name);
        Assert.Equal("gpu", Decide(Request(cpu: 3000), nodes).Node!.Name);
    }

    [Fact]
    public void Devices_that_are_all_in_use_are_a_matter_of_room()
    {
        var node = Node("n") with { Devices = Devices(("gpu", 1)), AllocatedDevices = Devices(("gpu", 1)) };

        var decision = Decide(Request() with { Devices = Devices(("gpu", 1)) }, node, Node("m"));

        Assert.Equal(("InsufficientResources", "2 nodes: 1 has 0 gpu free of the 1 asked for, 1 has no gpu"), (decision.Reason, decision.Message));
        Assert.Equal(("Devices", 2), (decision.Receipt.Filters[0].Filter, decision.Receipt.Filters[0].NodesRemoved));
    }

    [Fact]
    public void Ties_fall_to_fewer_instances_and_then_to_the_name_whatever_the_order()
    {
        var (a, b, c) = (Node("a", instances: 1), Node("b"), Node("c"));

        Assert.Equal("b", Decide(Request(), a, b, c).Node!.Name);
        Assert.Equal("b", Decide(Request(), c, b, a).Node!.Name);
    }

    [Theory]
    [InlineData(512L << 20, "512 MiB")]
    [InlineData(3L << 29, "1.5 GiB")]
    [InlineData((2L << 30) - 1, "1.9 GiB")]
    [InlineData(100, "100 B")]
    [InlineData(-5, "0 B")]
    public void Bytes_are_written_for_people(long bytes, string text) => Assert.Equal(text, ResourceAmount.BytesText(bytes));

    [Fact]
    public void Node_local_disks_are_reserved_unless_the_resources_cover_them()
    {
        var spec = new InstanceSpec
        {
            Resources = new() { CpuMillicores = 1, MemoryBytes = 2, DiskBytes = 10 },
            Disks =
            {
                new Disk { Name = "root", Kind = DiskKind.Local, SizeBytes = 30 },
                new Disk { Name = "far", Kind = DiskKind.Shared, SizeBytes = 500 },
            },
        };

        var request = PlacementRequest.Of(new("i"), "p", new Dictionary<string, string>(), spec, PlacementStrategy.Binpack);

        Assert.Equal(new ResourceAmount(1, 2, 30), request.Reserve);
        Assert.Equal(PlacementStrategy.Binpack, request.Strategy);
    }
}
