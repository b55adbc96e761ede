using CsCheck;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Fleets;

/// <summary>
/// Protects: what the fleet decides by looking at what changed is what a scan of all nodes decides: the same nodes could take the request, the
/// filters refuse as many, and the node that is chosen is as good as the best.
/// </summary>
public sealed class FleetOracleTests
{
    private const int Instances = 24;

    private static readonly Gen<Action<Scene>> Step = Gen.Frequency(
        (4, RandomFleets.Node.Select(node => (Action<Scene>)(scene => scene.Describe(node)))),
        (1, Gen.Int[0, RandomFleets.Count - 1].Select(index => (Action<Scene>)(scene => scene.Fleet.Remove(new($"uid-n{index}"))))),
        (8, Gen.Select(Gen.Int[0, Instances - 1], RandomFleets.Request, (instance, request) => (Action<Scene>)(scene => scene.Place(instance, request)))),
        (3, Gen.Select(Gen.Int[0, Instances - 1], Gen.Int[0, 3], (instance, what) => (Action<Scene>)(scene => scene.Settle(instance, what)))),
        (8, RandomFleets.Request.Select(request => (Action<Scene>)(scene => scene.Compare(request)))));

    /// <summary>Some 20 comparisons each: more than 10,000 in all.</summary>
    [Fact]
    public void Every_decision_is_that_of_a_scan_of_all_nodes()
    {
        Gen.Select(RandomFleets.Node.List[0, 12], RandomFleets.Request.List[1, 4], Step.List[20, 60]).Sample(
            (nodes, requests, steps) =>
            {
                var scene = new Scene();
                nodes.ForEach(scene.Describe);
                foreach (var step in steps)
                {
                    step(scene);
                    // The same few again and again: what is kept between decisions is what can be wrong.
                    requests.ForEach(scene.Compare);
                }
            },
            iter: 400);
    }

    /// <summary>A row has one state for the lists of all places: what left one list is not found in it again when another has it.</summary>
    [Fact]
    public void A_node_that_moved_to_another_zone_is_not_taken_for_one_of_its_former()
    {
        var request = Nodes.Request() with
        {
            Project = "p",
            Labels = new Dictionary<string, string> { ["app"] = "web" },
            Affinity = [NeighbourTerm.Of(new() { Selector = "app=web", Topology = "zone", Preferred = true })],
        };
        var scene = new Scene();
        string[] others = ["b1", "b2", "b3", "a1"];
        foreach (var name in others)
        {
            scene.Describe(Of(name, NodeScheduling.Schedulable));
        }

        // Nobody looks at it in the list of its zone while there are three better ones elsewhere, and one in it.
        scene.Describe(Nodes.Node("moved", zone: "a", capacity: new(1000, Nodes.GiB, 0)));
        scene.Place(0, request with { Zone = "a" });
        scene.Place(1, request with { Zone = "b" });
        scene.Compare(request);

        scene.Describe(Nodes.Node("moved", zone: "c", capacity: new(1000, Nodes.GiB, 0)));
        scene.Compare(request);

        foreach (var name in others)
        {
            scene.Describe(Of(name, NodeScheduling.Cordoned));
        }

        scene.Compare(request);

        static CandidateNode Of(string name, NodeScheduling scheduling) =>
            Nodes.Node(name, scheduling, zone: name[..1], capacity: new(name == "a1" ? 2000 : 4000, 4 * Nodes.GiB, 0));
    }

    private sealed class Scene
    {
        private readonly Dictionary<int, Stay> _decided = [];
        private readonly RequestClasses _classes;
        private long _versions;

        /// <summary>So few of everything that all of it is used up, and forgotten, all the time.</summary>
        public Scene() => _classes = new(Fleet, kept: 6, candidates: 2);

        public Fleet Fleet { get; } = new();

        public void Describe(CandidateNode node) => Fleet.Describe(new(node, (++_versions, 0, 0)));

        public void Place(int instance, PlacementRequest request)
        {
            var known = _classes.Of(request);
            var ranking = known.Decide(Fleet, _classes);
            if (ranking.First < 0 || _decided.ContainsKey(instance))
            {
                return;
            }

            var stay = new Stay(Fleet.NodeAt(ranking.First)!.Id, request.Reserve, known.Kind, request.Ports) { Devices = request.Devices };
            _decided[instance] = stay;
            Fleet.Reserve(new($"i{instance}"), stay);
        }

        /// <summary>The store shows it, the commit failed, it is larger now, or it goes.</summary>
        public void Settle(int instance, int what)
        {
            if (!_decided.TryGetValue(instance, out var stay))
            {
                return;
            }

            // What is decided or read about an instance is always of a kind that the fleet was just asked for.
            stay = stay with { Kind = Fleet.KindOf(stay.Kind.Project, stay.Kind.Labels, stay.Kind.KeepsAway) };
            var id = new InstanceId($"i{instance}");
            switch (what)
            {
                case 0:
                    Fleet.Confirm(id, stay);
                    break;
                case 1:
                    Fleet.Unreserve(id);
                    break;
                case 2:
                    Fleet.Reserve(id, stay with { Amount = stay.Amount + new ResourceAmount(100, 0, 0), Devices = stay.Devices + stay.Devices });
                    break;
                default:
                    Fleet.Confirm(id, null);
                    Fleet.Unreserve(id);
                    _decided.Remove(instance);
                    break;
            }
        }

        public void Compare(PlacementRequest request)
        {
            var known = _classes.Of(request);
            var ranking = known.Decide(Fleet, _classes);
            var candidates = Enumerable.Range(0, Fleet.RowCount).Select(Fleet.CandidateAt).OfType<CandidateNode>().ToList();
            foreach (var node in candidates)
            {
                var taken = Fleet.Stays().Where(entry => entry.Stay.Node == node.Id).Aggregate(default(DeviceAmounts), (sum, entry) => sum + entry.Stay.Devices);
                Assert.Equal(taken, node.AllocatedDevices);
            }

            var view = new FleetView(ResourceVersion.Of(Incarnation.First, 7), candidates)
            {
                Placed = [.. Fleet.Stays().Select(entry => new PlacedInstance(entry.Stay.Node, "p", entry.Stay.Kind.Labels, entry.Stay.Kind.KeepsAway))],
            };
            var oracle = Scheduler.Decide(request, view, Nodes.Now);

            var fits = candidates.Count - oracle.Receipt.Filters.Sum(filter => filter.NodesRemoved);
            Assert.Equal(fits, Enumerable.Range(0, Fleet.RowCount).Count(known.Takes));
            foreach (var filter in oracle.Receipt.Filters)
            {
                var index = Scheduler.NamesOfNodeFilters.ToList().IndexOf(filter.Filter);
                if (index >= 0)
                {
                    Assert.Equal(filter.NodesRemoved, known.Shape!.Counts[index + 1]);
                }
            }

            Assert.Equal(oracle.Node is null, ranking.First < 0);
            if (oracle.Node is not null)
            {
                Assert.True(known.Takes(ranking.First), "what is chosen fits");
                Assert.Equal(oracle.Receipt.Candidates[0].Score, ranking.FirstScore, 9);
            }
        }
    }
}
