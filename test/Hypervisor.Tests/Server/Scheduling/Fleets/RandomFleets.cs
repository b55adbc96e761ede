using CsCheck;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;

namespace Hypervisor.Tests.Server.Scheduling.Fleets;

/// <summary>Small random fleets and requests, of so few values that they meet all the time.</summary>
internal static class RandomFleets
{
    public const int Count = 9;

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

    private static readonly Gen<(string Name, int Count)[]> Asked = Gen.Frequency(
        (10, Gen.Const<(string, int)[]>([])), (1, Gen.Const<(string, int)[]>([("gpu", 1)])), (1, Gen.Const<(string, int)[]>([("gpu", 2)])),
        (1, Gen.Const<(string, int)[]>([("gpu", 1), ("nic", 1)])));

    private static readonly Gen<(string Name, int Count)[]> Offered = Gen.Frequency(
        (4, Gen.Const<(string, int)[]>([])), (1, Gen.Const<(string, int)[]>([("gpu", 1)])), (1, Gen.Const<(string, int)[]>([("gpu", 3)])),
        (1, Gen.Const<(string, int)[]>([("gpu", 2), ("nic", 2)])));

    public static readonly Gen<PlacementRequest> Request =
        from labels in Labels
        from constraints in Constraints
        from cpu in OneOf(100, 500, 1500)
        from memory in OneOf(1, 3)
        from type in OneOf(InstanceType.Container, InstanceType.Container, InstanceType.Vm)
        from port in Gen.Int[0, 8]
        from devices in Asked
        select PlacementRequest.Of(new("i"), "p", labels, Spec(constraints, cpu, memory, type, port, devices), PlacementStrategy.Spread);

    public static readonly Gen<CandidateNode> Node =
        from index in Gen.Int[0, Count - 1]
        from region in OneOf(Regions)
        from zone in OneOf(Zones)
        from rack in Gen.Int[0, 3]
        from state in Gen.Int[0, 9]
        from taint in Gen.Int[0, 7]
        from size in Gen.Int[1, 4]
        from devices in Offered
        select Described(index, region, zone, rack, state, taint, size) with { Devices = Nodes.Devices(devices) };

    public static Gen<T> OneOf<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);

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

    private static InstanceSpec Spec(PlacementConstraints constraints, int cpu, int memory, InstanceType type, int port, (string Name, int Count)[] devices)
    {
        var spec = new InstanceSpec { Type = type, Constraints = constraints, Resources = new() { CpuMillicores = cpu, MemoryBytes = memory * Nodes.GiB } };
        Nodes.Devices(devices).AddTo(spec.Resources);
        if (port < 2)
        {
            spec.Network = new();
            spec.Network.Ports.Add(new PublishedPort { HostPort = 80 + port, InstancePort = 80 });
        }

        return spec;
    }

    private static CandidateNode Described(int index, string region, string zone, int rack, int state, int taint, int size)
    {
        var node = Nodes.Node(
            $"n{index}",
            state == 0 ? NodeScheduling.Cordoned : NodeScheduling.Schedulable,
            state == 1 ? NodeLiveness.Suspect : NodeLiveness.Ready,
            new(size * 1000, size * 2 * Nodes.GiB, 0),
            region: region,
            zone: zone,
            labels: rack == 0 ? [] : [("rack", $"{rack}")],
            runtimes: state == 2 ? [new() { Type = InstanceType.Vm, Driver = "libvirt", Available = true }] : null);
        return taint is 1 or 2
            ? node with { Taints = [new Taint { Key = "dedicated", Value = "x", Effect = taint == 1 ? TaintEffect.NoSchedule : TaintEffect.PreferNoSchedule }] }
            : node;
    }
}
