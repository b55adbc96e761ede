using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Hypervisor.Server.Stores.Records;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Protects: what is kept of a placement is small however long names are, and tells the same as the decision did.</summary>
public sealed class ReceiptsTests
{
    [Fact]
    public void What_is_kept_tells_counts_and_parts()
    {
        var ledger = With(
            Node("a", zone: "1", labels: [("disk", "ssd")]), Node("b", zone: "2"), Node("c", zone: "1"), Node("cordoned", NodeScheduling.Cordoned),
            Node("small", capacity: new(10, 1 << 20, 0)), Node("tiny", capacity: new(10, 1 << 20, 0)), Node("last", zone: "3"));
        var selector = LabelSelector.Parse("app=db");
        var request = Request() with
        {
            Project = "p",
            Preferred = PreferredPlace.None with { Zone = "1", Labels = new Dictionary<string, string> { ["disk"] = "ssd" } },
            AntiAffinity = [new NeighbourTerm("app=db", selector, "zone", Preferred: true)],
        };
        ledger.Reserve(new("db"), new(new("uid-a"), new(100, 64 << 20, 0), ledger.Fleet.KindOf("p", new Dictionary<string, string> { ["app"] = "db" }, []), []));

        var receipt = Receipts.Expand(Keep(ledger, request), epoch: 5);

        Assert.Equal(("a", 7, 5, 99), (receipt.Node, receipt.NodesConsidered, receipt.Epoch, receipt.ViewResourceVersion));
        Assert.Equal(PlacementStrategy.Spread, receipt.Strategy);
        Assert.Equal(Now, receipt.DecidedAt.ToDateTimeOffset());
        Assert.Equal("a is the best of 4 with room, of 7 nodes (spread).", receipt.Message);
        Assert.Equal([("Scheduling", 1), ("Resources", 2)], receipt.Filters.Select(verdict => (verdict.Filter, verdict.NodesRemoved)));
        Assert.Equal(["a", "c", "b"], receipt.Candidates.Select(candidate => candidate.Node));
        Assert.Equal([2, 1, 0], receipt.Candidates.Select(candidate => candidate.Parts.GetValueOrDefault("Preferred")));
        Assert.Equal([0.5, 0.5, 1], receipt.Candidates.Select(candidate => candidate.Parts["Neighbours"]), Close);
        Assert.All(receipt.Candidates, candidate =>
        {
            Assert.InRange(candidate.Parts["Spread"], 0, 1);
            Assert.Equal(candidate.Score, candidate.Parts.Values.Sum(), tolerance: 1e-9);
        });
    }

    [Fact]
    public void A_taint_that_is_to_be_avoided_is_part_of_what_is_preferred()
    {
        var avoided = Node("a") with { Taints = [new Taint { Key = "slow", Effect = TaintEffect.PreferNoSchedule }] };

        var receipt = Receipts.Expand(Keep(With(avoided, Node("b")), Request()), epoch: 1);

        Assert.Equal(["b", "a"], receipt.Candidates.Select(candidate => candidate.Node));
        Assert.Equal([0, -1024], receipt.Candidates.Select(candidate => candidate.Parts.GetValueOrDefault("Preferred")));
    }

    [Theory]
    [InlineData(1, 3)]
    [InlineData(63, 2)]
    public void However_long_names_are_it_is_256_bytes_at_most(int length, int candidates)
    {
        // With every filter's count, and every part of a score.
        var nodes = Enumerable.Range(0, 9).Select(index => Node(new string((char)('a' + index), length), zone: $"{index}")).ToArray();
        var others = Enumerable.Range(0, 300).Select(index => Node($"full-{index}", capacity: new(1, 1, 1)));
        var request = Request() with
        {
            Project = "p",
            Preferred = PreferredPlace.None with { Zone = "1", Node = nodes[2].Name },
            Spread = [new SpreadTerm("app=db", LabelSelector.Parse("app=db"), "zone", 1, Preferred: true)],
        };

        var kept = Keep(With([.. nodes, .. others]), request, version: long.MaxValue);

        Assert.InRange(kept.CalculateSize(), 1, Receipts.MaxBytes);
        Assert.Equal(candidates, kept.Best.Count);
        Assert.Equal(nodes[2].Name, Receipts.Expand(kept, epoch: 1).Node);
    }

    private static bool Close(double one, double other) => Math.Abs(one - other) < 1e-9;

    private static CompactReceipt Keep(FleetLedger ledger, PlacementRequest request, long version = 99)
    {
        var asked = ledger.Classes.Of(request);
        var ranking = asked.Decide(ledger.Fleet, ledger.Classes);
        return CompactReceipt.Parser.ParseFrom(Google.Protobuf.MessageExtensions.ToByteArray(Receipts.Of(ledger.Fleet, asked, ranking, version, Now)));
    }

    private static FleetLedger With(params CandidateNode[] nodes)
    {
        var ledger = new FleetLedger();
        foreach (var node in nodes)
        {
            ledger.Fleet.Describe(new(node, (1, 0, 0)));
        }

        return ledger;
    }
}
