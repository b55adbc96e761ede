using CsCheck;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling.Fleets;

/// <summary>Protects: CapacitySafe: however decisions, commits, failures and late views interleave, no node is ever exceeded.</summary>
public sealed class FleetLedgerTests
{
    private static readonly NodeId A = new("uid-a");

    [Fact]
    public void A_reservation_counts_until_the_store_shows_its_commit_and_then_once()
    {
        var ledger = WithNodes(Node("a"));
        ledger.Reserve(new("i"), Stay(ledger, A, 500, new PortClaim(80, IpProtocol.Tcp, "")));

        ledger.Reached(100);
        var pending = Assert.Single(ledger.Fleet.Candidates());
        Assert.Equal((500, 1), (pending.Allocated.CpuMillicores, pending.InstanceCount));
        Assert.Equal([new PortClaim(80, IpProtocol.Tcp, "")], pending.UsedPorts);

        ledger.Commit(new("i"), 101);
        ledger.Fleet.Confirm(new("i"), Stay(ledger, A, 500));
        Assert.Equal(500, Assert.Single(ledger.Fleet.Candidates()).Allocated.CpuMillicores);
        ledger.Reached(101);
        Assert.False(ledger.Holds(new("i")));
        Assert.Equal(500, Assert.Single(ledger.Fleet.Candidates()).Allocated.CpuMillicores);
    }

    [Fact]
    public void A_failed_commit_gives_the_room_back()
    {
        var ledger = WithNodes(Node("a"));
        ledger.Reserve(new("i"), Stay(ledger, A, 500));
        ledger.Release(new("i"));

        Assert.False(ledger.Holds(new("i")));
        Assert.Equal(default, Assert.Single(ledger.Fleet.Candidates()).Allocated);
    }

    [Fact]
    public void A_commit_in_doubt_counts_until_a_later_look_at_the_store_tells()
    {
        var ledger = WithNodes(Node("a"));
        ledger.Reserve(new("i"), Stay(ledger, A, 500));
        ledger.Doubt(new("i"));
        ledger.Reached(10);
        Assert.True(ledger.HasDoubts && ledger.Holds(new("i")));

        ledger.ResolveDoubts(12);
        Assert.True(ledger.Holds(new("i")));
        ledger.Reached(12);
        Assert.False(ledger.Holds(new("i")));
        Assert.Equal(default, Assert.Single(ledger.Fleet.Candidates()).Allocated);
    }

    [Fact]
    public void What_grows_counts_with_the_larger_until_it_is_known()
    {
        var ledger = WithNodes(Node("a"));
        ledger.Fleet.Confirm(new("i"), Stay(ledger, A, 500));
        ledger.Reserve(new("i"), Stay(ledger, A, 800));
        Assert.Equal(800, Assert.Single(ledger.Fleet.Candidates()).Allocated.CpuMillicores);
        ledger.Release(new("i"));
        Assert.Equal(500, Assert.Single(ledger.Fleet.Candidates()).Allocated.CpuMillicores);
    }

    /// <summary>Protects: a place that others leave is free only when their devices are, too.</summary>
    [Fact]
    public void What_is_claimed_is_free_once_nobody_else_has_its_devices()
    {
        var ledger = WithNodes(Node("a") with { Devices = Devices(("gpu", 2), ("nic", 1)) });
        ledger.Fleet.Confirm(new("one"), Stay(ledger, A, 1) with { Devices = Devices(("gpu", 1)) });
        ledger.Fleet.Confirm(new("other"), Stay(ledger, A, 1) with { Devices = Devices(("gpu", 1), ("nic", 2)) });
        var claim = new Claim(new("i"), Stay(ledger, A, 1) with { Devices = Devices(("gpu", 1)) }, since: 0, TimeSpan.Zero);
        ledger.Hold(claim);

        Assert.False(ledger.IsFree(claim));
        ledger.Fleet.Confirm(new("one"), null);

        // That more of another device is in use than there is does not matter.
        Assert.True(ledger.IsFree(claim));
        Assert.Equal(Devices(("nic", -1)), ledger.Fleet.FreeDevicesAt(ledger.Fleet.Find(A)));
    }

    [Fact]
    public void Nobody_decides_twice_about_one_instance()
    {
        var ledger = WithNodes(Node("a"));
        ledger.Reserve(new("i"), Stay(ledger, A, 1));

        Assert.Throws<InvalidOperationException>(() => ledger.Reserve(new("i"), Stay(ledger, new("uid-b"), 1)));
    }

    [Fact]
    public void A_node_that_is_gone_and_one_that_takes_its_row_are_told_apart()
    {
        var ledger = WithNodes(Node("a"), Node("b"));
        ledger.Fleet.Confirm(new("i"), Stay(ledger, A, 500));
        ledger.Fleet.Remove(A);
        ledger.Fleet.Describe(new(Node("c"), (2, 0, 0)));
        Assert.All(ledger.Fleet.Candidates(), node => Assert.Equal(default, node.Allocated));

        ledger.Fleet.Confirm(new("i"), null);
        ledger.Fleet.Describe(new(Node("d"), (3, 0, 0)));
        Assert.Equal(["b", "c", "d"], ledger.Fleet.Candidates().Select(node => node.Name));
        Assert.All(ledger.Fleet.Candidates(), node => Assert.Equal(default, node.Allocated));
    }

    private enum Step
    {
        Decide,
        Commit,
        Fail,
        AdvanceView,
    }

    [Fact]
    public void No_interleaving_of_decisions_commits_and_late_views_exceeds_a_node()
    {
        var steps = Gen.Select(Gen.Int[0, 4].Select(kind => kind == 4 ? Step.Decide : (Step)kind), Gen.Int[1, 3000], Gen.Int[0, 9]);
        steps.Array[0, 200].Sample(script => Run(script), iter: 300);

        static void Run((Step Step, int Amount, int Pick)[] script)
        {
            CandidateNode[] nodes =
            [
                Node("a", capacity: new(4000, 4000, 0)) with { Devices = Devices(("gpu", 2)) },
                Node("b", capacity: new(7000, 7000, 0)) with { Devices = Devices(("gpu", 1), ("nic", 3)) },
            ];
            var ledger = WithNodes(nodes);
            var committed = new List<(long Revision, InstanceId Id, Stay Stay)>();
            var inFlight = new List<(InstanceId Id, Stay Stay)>();
            long revision = 0, view = 0;
            var next = 0;
            foreach (var (step, amount, pick) in script)
            {
                switch (step)
                {
                    case Step.Decide:
                        var devices = pick % 3 == 0 ? Devices(("gpu", 1)) : pick % 5 == 0 ? Devices(("nic", 2)) : default;
                        var strategy = pick % 2 == 0 ? PlacementStrategy.Spread : PlacementStrategy.Binpack;
                        var request = Request($"i{next++}", cpu: amount, memory: amount, strategy: strategy) with { Devices = devices };
                        var asked = ledger.Classes.Of(request);
                        if (asked.Decide(ledger.Fleet, ledger.Classes).First is >= 0 and var row)
                        {
                            var stay = new Stay(ledger.Fleet.NodeAt(row)!.Id, request.Reserve, asked.Kind, []) { Devices = request.Devices };
                            ledger.Reserve(request.Instance, stay);
                            inFlight.Add((request.Instance, stay));
                        }

                        break;
                    case Step.Commit when inFlight.Count > 0:
                        var done = Take(inFlight, pick);
                        committed.Add((++revision, done.Id, done.Stay));
                        ledger.Commit(done.Id, revision);
                        break;
                    case Step.Fail when inFlight.Count > 0:
                        ledger.Release(Take(inFlight, pick).Id);
                        break;
                    case Step.AdvanceView:
                        var before = view;
                        view = Math.Min(revision, view + 1 + pick);
                        foreach (var shown in committed.Where(entry => entry.Revision > before && entry.Revision <= view))
                        {
                            ledger.Fleet.Confirm(shown.Id, shown.Stay);
                        }

                        ledger.Reached(view);
                        break;
                }

                foreach (var node in nodes)
                {
                    var there = committed.Select(entry => entry.Stay).Where(stay => stay.Node == node.Id).ToList();
                    Assert.True(there.Aggregate(default(ResourceAmount), (sum, stay) => sum + stay.Amount).FitsIn(node.Capacity), $"{node.Name} is exceeded");
                    Assert.True(there.Aggregate(default(DeviceAmounts), (sum, stay) => sum + stay.Devices).FitsIn(node.Devices), $"{node.Name} has fewer devices");
                }
            }
        }

        static (InstanceId Id, Stay Stay) Take(List<(InstanceId Id, Stay Stay)> list, int pick)
        {
            var taken = list[pick % list.Count];
            list.Remove(taken);
            return taken;
        }
    }

    private static FleetLedger WithNodes(params CandidateNode[] nodes)
    {
        var ledger = new FleetLedger();
        foreach (var node in nodes)
        {
            ledger.Fleet.Describe(new(node, (1, 0, 0)));
        }

        return ledger;
    }

    private static Stay Stay(FleetLedger ledger, NodeId node, long cpu, params PortClaim[] ports) =>
        new(node, new(cpu, 0, 0), ledger.Fleet.KindOf("p", new Dictionary<string, string>(), []), ports);
}
