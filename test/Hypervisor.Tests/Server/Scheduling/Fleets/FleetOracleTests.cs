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
    private const int Nodes = 9;
    private const int Instances = 24;

    private static readonly string[] Regions = ["", "eu", "us"];
    private static readonly string[] Zones = ["", "a", "b"];
    private static readonly string[] Apps = ["web", "db"];
    private static readonly string[] Topologies = ["node", "zone", "region", "rack"];

    private static readonly Gen<Dictionary<string, string>> Labels =
        Gen.Select(Gen.Int[0, 2], Gen.Int[0, 2], (app, tier) =>
        {
            var labels = new Dictionary<string, string>();
            if (app > 0)
            {
                labels["app"] = Apps[app - 1];
            }

            if (tier > 0)
            {
                labels["tier"] = tier == 1 ? "one" : "two";
            }

            return labels;
        });

    private static readonly Gen<AffinityTerm> Term = Gen.Select(
        OneOf("app=web", "app=db", "tier=one", "tier", "app!=web"), OneOf(Topologies), Gen.Bool,
        (selector, topology, preferred) => new AffinityTerm { Selector = selector, Topology = topology, Preferred = preferred });

    private static readonly Gen<SpreadConstraint> Spread = Gen.Select(
        OneOf("app=web", "app=db", "tier"), OneOf(Topologies), Gen.Int[1, 2], Gen.Bool,
        (selector, topology, skew, preferred) => new SpreadConstraint { Selector = selector, Topology = topology, MaxSkew = skew, Preferred = preferred });

    private static readonly Gen<PlacementConstraints> Constraints =
        from shape in Gen.Int[0, 11]
        from strategy in OneOf(PlacementStrategy.Binpack, PlacementStrategy.Spread, PlacementStrategy.Balanced)
        from affinity in Term.List[0, 1]
        from anti in Term.List[0, 2]
        from spread in Spread.List[0, 1]
        select Make(shape, strategy, affinity, anti, spread);

    internal static readonly Gen<PlacementRequest> Request =
        from labels in Labels
        from constraints in Constraints
        from cpu in OneOf(100, 500, 1500)
        from memory in OneOf(1, 3)
        from type in OneOf(InstanceType.Container, InstanceType.Container, InstanceType.Vm)
        from port in Gen.Int[0, 8]
        select PlacementRequest.Of(new("i"), "p", labels, Spec(constraints, cpu, memory, type, port), PlacementStrategy.Spread);

    internal static readonly Gen<CandidateNode> Node =
        from index in Gen.Int[0, Nodes - 1]
        from region in OneOf(Regions)
        from zone in OneOf(Zones)
        from rack in Gen.Int[0, 3]
        from state in Gen.Int[0, 9]
        from taint in Gen.Int[0, 7]
        from size in Gen.Int[1, 4]
        select Described(index, region, zone, rack, state, taint, size);

    private static readonly Gen<Action<Scene>> Step = Gen.Frequency(
        (4, Node.Select(node => (Action<Scene>)(scene => scene.Describe(node)))),
        (1, Gen.Int[0, Nodes - 1].Select(index => (Action<Scene>)(scene => scene.Fleet.Remove(new($"uid-n{index}"))))),
        (8, Gen.Select(Gen.Int[0, Instances - 1], Request, (instance, request) => (Action<Scene>)(scene => scene.Place(instance, request)))),
        (3, Gen.Select(Gen.Int[0, Instances - 1], Gen.Int[0, 3], (instance, what) => (Action<Scene>)(scene => scene.Settle(instance, what)))),
        (8, Request.Select(request => (Action<Scene>)(scene => scene.Compare(request)))));

    /// <summary>Some 20 comparisons each: more than 10,000 in all.</summary>
    [Fact]
    public void Every_decision_is_that_of_a_scan_of_all_nodes()
    {
        Gen.Select(Node.List[0, 12], Request.List[1, 4], Step.List[20, 60]).Sample(
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

    private static Gen<T> OneOf<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);

    private static PlacementConstraints Make(int shape, PlacementStrategy strategy, List<AffinityTerm> affinity, List<AffinityTerm> anti, List<SpreadConstraint> spread)
    {
        var constraints = new PlacementConstraints { Strategy = strategy };
        constraints.Region = shape == 1 ? "eu" : "";
        constraints.PreferredZone = shape == 2 ? "a" : "";
        constraints.PreferredNode = shape == 3 ? "n3" : "";
        if (shape == 4)
        {
            constraints.NodeSelector["rack"] = "1";
        }

        if (shape == 5)
        {
            constraints.PreferredLabels["rack"] = "2";
            constraints.PreferredRegion = "us";
        }

        if (shape is 6 or 7)
        {
            constraints.Tolerations.Add(new Toleration { Key = "dedicated", Effect = shape == 6 ? TaintEffect.NoSchedule : TaintEffect.Unspecified });
        }

        // Half of them have no terms: that way is another one.
        if (shape > 5)
        {
            constraints.Affinity.AddRange(affinity);
            constraints.AntiAffinity.AddRange(anti);
            constraints.Spread.AddRange(spread);
        }

        return constraints;
    }

    private static InstanceSpec Spec(PlacementConstraints constraints, int cpu, int memory, InstanceType type, int port)
    {
        var spec = new InstanceSpec { Type = type, Constraints = constraints, Resources = new() { CpuMillicores = cpu, MemoryBytes = memory * Scheduling.Nodes.GiB } };
        if (port < 2)
        {
            spec.Network = new();
            spec.Network.Ports.Add(new PublishedPort { HostPort = 80 + port, InstancePort = 80 });
        }

        return spec;
    }

    private static CandidateNode Described(int index, string region, string zone, int rack, int state, int taint, int size)
    {
        var node = Scheduling.Nodes.Node(
            $"n{index}",
            state == 0 ? NodeScheduling.Cordoned : NodeScheduling.Schedulable,
            state == 1 ? NodeLiveness.Suspect : NodeLiveness.Ready,
            new(size * 1000, size * 2 * Scheduling.Nodes.GiB, 0),
            region: region,
            zone: zone,
            labels: rack == 0 ? [] : [("rack", $"{rack}")],
            runtimes: state == 2 ? [new() { Type = InstanceType.Vm, Driver = "libvirt", Available = true }] : null);
        return taint is 1 or 2
            ? node with { Taints = [new Taint { Key = "dedicated", Value = "x", Effect = taint == 1 ? TaintEffect.NoSchedule : TaintEffect.PreferNoSchedule }] }
            : node;
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

            var stay = new Stay(Fleet.NodeAt(ranking.First)!.Id, request.Reserve, known.Kind, request.Ports);
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
                    Fleet.Reserve(id, stay with { Amount = stay.Amount + new ResourceAmount(100, 0, 0) });
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
            var view = new FleetView(ResourceVersion.Of(Incarnation.First, 7), candidates)
            {
                Placed = [.. Fleet.Stays().Select(entry => new PlacedInstance(entry.Stay.Node, "p", entry.Stay.Kind.Labels, entry.Stay.Kind.KeepsAway))],
            };
            var oracle = Scheduler.Decide(request, view, Scheduling.Nodes.Now);

            var fits = candidates.Count - oracle.Receipt.Filters.Sum(filter => filter.NodesRemoved);
            var taken = Enumerable.Range(0, Fleet.RowCount).Count(known.Takes);
            Assert.Equal(fits, taken);
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
