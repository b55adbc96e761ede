using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Bench.Scheduling;

/// <summary>What is placed where: seeded, so that every run and every side decides about the same.</summary>
internal sealed class Workload
{
    private const int Regions = 3;
    private const int ZonesPerRegion = 5;
    private const long GiB = 1L << 30;

    private static readonly int[] _cores = [16, 32, 48, 64, 96, 128];
    private static readonly int[] _gibPerCore = [2, 4, 8];

    private readonly Random _random;

    public Workload(int nodes, int seed = 20261127)
    {
        _random = new(seed);
        Nodes = [.. Enumerable.Range(0, nodes).Select(Node)];
    }

    public IReadOnlyList<CandidateNode> Nodes { get; }

    /// <summary>Each node 0-60 % full.</summary>
    public Fleet NewFleet()
    {
        var random = new Random(7);
        var fleet = new Fleet();
        var kind = fleet.KindOf("before", new Dictionary<string, string>(), []);
        foreach (var node in Nodes)
        {
            fleet.Describe(new(node, (1, 1, 1)));
            var share = random.NextDouble() * 0.6;
            var used = new ResourceAmount((long)(node.Capacity.CpuMillicores * share), (long)(node.Capacity.MemoryBytes * share), 0);
            fleet.Confirm(new($"before-{node.Name}"), new(node.Id, used, kind, []));
        }

        return fleet;
    }

    /// <summary>Different sizes of requests, from a tenth of a CPU to eight.</summary>
    /// <param name="constrain">What the shape of that number asks for besides.</param>
    public IReadOnlyList<PlacementRequest> Shapes(int count, Action<int, PlacementConstraints, Dictionary<string, string>>? constrain = null)
    {
        var shapes = new List<PlacementRequest>(count);
        for (var number = 0; number < count; number++)
        {
            var constraints = new PlacementConstraints { Strategy = PlacementStrategy.Binpack };
            var labels = new Dictionary<string, string>();
            constrain?.Invoke(number, constraints, labels);
            var cpu = 100 * (1 + _random.Next(number % 10 == 0 ? 80 : 15));
            var spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Constraints = constraints,
                Resources = new() { CpuMillicores = cpu, MemoryBytes = (long)(cpu / 1000.0 * (1 + _random.Next(4)) * GiB) + (64 << 20) },
            };
            shapes.Add(PlacementRequest.Of(new($"shape-{number}"), "bench", labels, spec, PlacementStrategy.Binpack));
        }

        return shapes;
    }

    /// <summary>A few shapes are asked for often and most seldom: the share of the n-th is as 1/n.</summary>
    public int[] Skewed(int shapes, int requests)
    {
        var sums = new double[shapes];
        var sum = 0.0;
        for (var shape = 0; shape < shapes; shape++)
        {
            sums[shape] = sum += 1.0 / (shape + 1);
        }

        var order = new int[requests];
        for (var request = 0; request < requests; request++)
        {
            var at = Array.BinarySearch(sums, _random.NextDouble() * sum);
            order[request] = Math.Min(shapes - 1, at < 0 ? ~at : at);
        }

        return order;
    }

    private CandidateNode Node(int index)
    {
        var cores = _cores[_random.Next(_cores.Length)];
        var capacity = new ResourceAmount(cores * 1000L, cores * _gibPerCore[_random.Next(_gibPerCore.Length)] * GiB, 1024 * GiB);
        var zone = index % (Regions * ZonesPerRegion);
        var inventory = new NodeInventory
        {
            Region = $"r{zone / ZonesPerRegion}",
            Zone = $"z{zone % ZonesPerRegion}",
            Capacity = capacity.ToResources(),
            Runtimes = { new RuntimeInfo { Type = InstanceType.Container, Driver = "containerd", Available = true } },
        };
        return new(
            new NodeId($"uid-{index:D6}"), $"node-{index:D6}", NodeScheduling.Schedulable, NodeLiveness.Ready, inventory,
            new Dictionary<string, string>(), capacity, default, 0, []);
    }
}
