using CsCheck;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling;

/// <summary>Protects: CapacitySafe: however decisions, commits, failures and late views interleave, no node is ever exceeded.</summary>
public sealed class ReservationsTests
{
    [Fact]
    public void A_reservation_counts_until_a_view_includes_its_commit()
    {
        var reservations = new Reservations();
        var node = Node("a");
        reservations.Reserve(node.Id, Request("i", cpu: 500, ports: [new(80, IpProtocol.Tcp, "")]));

        var pending = Assert.Single(reservations.Overlay(100, [node]));
        Assert.Equal(500, pending.Allocated.CpuMillicores);
        Assert.Equal(1, pending.InstanceCount);
        Assert.Equal([new PortClaim(80, IpProtocol.Tcp, "")], pending.UsedPorts);

        reservations.Commit(new("i"), 101);
        Assert.Equal(500, reservations.Overlay(100, [node])[0].Allocated.CpuMillicores);
        Assert.Equal(0, reservations.Overlay(101, [node])[0].Allocated.CpuMillicores);
        Assert.Equal(0, reservations.Count);
    }

    [Fact]
    public void A_failed_commit_gives_the_room_back()
    {
        var reservations = new Reservations();
        reservations.Reserve(new("uid-a"), Request("i"));
        reservations.Release(new("i"));

        Assert.False(reservations.Holds(new("i")));
        Assert.Equal(default, reservations.Overlay(1, [Node("a")])[0].Allocated);
    }

    [Fact]
    public void One_instance_never_reserves_twice()
    {
        var reservations = new Reservations();
        reservations.Reserve(new("uid-a"), Request("i"));

        Assert.Throws<InvalidOperationException>(() => reservations.Reserve(new("uid-b"), Request("i")));
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
            var reservations = new Reservations();
            CandidateNode[] empty = [Node("a", capacity: new(4000, 4000, 0)), Node("b", capacity: new(7000, 7000, 0))];
            var committed = new List<(long Revision, NodeId Node, ResourceAmount Amount)>();
            var inFlight = new List<(InstanceId Id, NodeId Node, ResourceAmount Amount)>();
            long revision = 0, view = 0;
            var next = 0;
            foreach (var (step, amount, pick) in script)
            {
                switch (step)
                {
                    case Step.Decide:
                        var nodes = reservations.Overlay(
                            view, [.. empty.Select(node => node with { Allocated = Sum(committed, node.Id, view) })]);
                        var request = Request($"i{next++}", cpu: amount, memory: amount,
                            strategy: pick % 2 == 0 ? PlacementStrategy.Spread : PlacementStrategy.Binpack);
                        if (Decide(request, [.. nodes]).Node is { } node)
                        {
                            reservations.Reserve(node.Id, request);
                            inFlight.Add((request.Instance, node.Id, request.Reserve));
                        }

                        break;
                    case Step.Commit when inFlight.Count > 0:
                        var done = Take(inFlight, pick);
                        committed.Add((++revision, done.Node, done.Amount));
                        reservations.Commit(done.Id, revision);
                        break;
                    case Step.Fail when inFlight.Count > 0:
                        reservations.Release(Take(inFlight, pick).Id);
                        break;
                    case Step.AdvanceView:
                        view = Math.Min(revision, view + 1 + pick);
                        break;
                }

                foreach (var node in empty)
                {
                    Assert.True(Sum(committed, node.Id, long.MaxValue).FitsIn(node.Capacity), $"{node.Name} is exceeded");
                }
            }
        }

        static (InstanceId Id, NodeId Node, ResourceAmount Amount) Take(List<(InstanceId Id, NodeId Node, ResourceAmount Amount)> list, int pick)
        {
            var taken = list[pick % list.Count];
            list.Remove(taken);
            return taken;
        }

        static ResourceAmount Sum(List<(long Revision, NodeId Node, ResourceAmount Amount)> committed, NodeId node, long view) =>
            committed.Where(entry => entry.Node == node && entry.Revision <= view)
                .Aggregate(default(ResourceAmount), (sum, entry) => sum + entry.Amount);
    }
}
