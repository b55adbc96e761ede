using System.Diagnostics;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// Decisions per second on one core: which node, with a receipt, and the room taken, for instances that are known and whose class is known, as
/// they come out of the queue. Nothing is written.
/// </summary>
internal static class DecisionBench
{
    private const int Nodes = 5_000;
    private const int Requests = 100_000;
    private const int Shapes = 200;
    private const int Rounds = 5;

    public static async Task RunAsync()
    {
        Console.WriteLine("published, other hardware: Hydra > 40,000/s (federated); kube-scheduler 1.20's algorithm, one core like these, 5,000 nodes: basic 566-637/s, spread 253-259/s, anti-affinity 86-109/s");
        Measure("basic", Nodes, Requests, workload => Plain(workload, Shapes));
        Measure("basic_one_shape", Nodes, Requests, workload => Plain(workload, 1));
        Measure("zone-spread", Nodes, Requests, workload => workload.Shapes(Shapes, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.Spread.Add(new SpreadConstraint { Selector = $"app=a{number}", Topology = "zone", MaxSkew = 1 });
        }));
        Measure("anti-affinity", Nodes, 50_000, workload => workload.Shapes(1_000, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.AntiAffinity.Add(new AffinityTerm { Selector = $"app=a{number}" });
        }), groups: 50);
        Measure("affinity", Nodes, 50_000, workload => workload.Shapes(Shapes, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.Affinity.Add(new AffinityTerm { Selector = $"app=a{number}", Topology = "zone" });
        }), groups: 250, begun: true);
        Measure("churn", Nodes, Requests, workload => Plain(workload, Shapes), churn: true);
        Measure("impossible", Nodes, Requests, workload => Plain(workload, Shapes), impossible: 5_000);
        Measure("basic_at_50k", 50_000, Requests, workload => Plain(workload, Shapes));
        Measure("basic_at_100k", 100_000, Requests, workload => Plain(workload, Shapes));
        await PreemptionBench.RunDecisionsAsync();
    }

    private static IReadOnlyList<PlacementRequest> Plain(Workload workload, int shapes) => workload.Shapes(shapes);

    private static void Measure(
        string name, int nodes, int requests, Func<Workload, IReadOnlyList<PlacementRequest>> shapes, int groups = 0, bool churn = false, bool begun = false, int impossible = 0)
    {
        var workload = new Workload(nodes);
        var asked = shapes(workload);
        var order = groups > 0 ? [.. Enumerable.Range(0, requests).Select(index => index % asked.Count)] : workload.Skewed(asked.Count, requests);
        var ids = Enumerable.Range(0, requests).Select(index => new InstanceId($"instance-{index:D8}")).ToArray();
        var rates = new List<double>();
        for (var round = 0; round <= Rounds; round++)
        {
            var rate = Run(workload, asked, order, ids, churn, begun, impossible, all: !churn && asked.Count > 1);
            if (round > 0)
            {
                rates.Add(rate);
            }
        }

        var (workloadName, suffix) = name.Split("_at_") is [var plain, var size] ? (plain, $"_at_{size}") : (name, "");
        Metric.Print($"scheduler.{workloadName}.decisions_per_s{suffix}", Metric.Median(rates), "1/s");
    }

    private static double Run(Workload workload, IReadOnlyList<PlacementRequest> asked, int[] order, InstanceId[] ids, bool churn, bool begun, int impossible, bool all)
    {
        var fleet = workload.NewFleet();
        var classes = new RequestClasses(fleet);
        RequestClass[] known = [.. asked.Select(classes.Of)];
        foreach (var (number, each) in known.Index())
        {
            if (begun)
            {
                // Each group has its first instance in one zone after the other: all would else follow the first into one.
                fleet.Reserve(new($"first-{number}"), new(workload.Nodes[number].Id, each.Request.Reserve, each.Kind, []));
            }

            each.Decide(fleet, classes);
        }

        // As many shapes again, of which no node takes any; each comes up as often as the queue is gone through.
        RequestClass[] never = impossible == 0 ? [] : [.. asked.Select(request => classes.Of(request with { Reserve = new(1_000_000, 1L << 46, 0) }))];
        var between = impossible == 0 ? int.MaxValue : ids.Length / impossible;
        var receipts = new Receipt[ids.Length];
        var random = new Random(3);
        GC.Collect();
        var placed = 0;
        var started = Stopwatch.GetTimestamp();
        for (var index = 0; index < ids.Length; index++)
        {
            var each = known[order[index]];
            var ranking = each.Decide(fleet, classes);
            receipts[index] = new(fleet.Order.Clock, each.Id, ranking);
            if (ranking.First >= 0)
            {
                placed++;
                fleet.Reserve(ids[index], new(fleet.NodeAt(ranking.First)!.Id, each.Request.Reserve, each.Kind, each.Request.Ports), ranking.First);
            }

            if (index % between == between - 1)
            {
                never[index / between % never.Length].Decide(fleet, classes);
            }

            if (churn && index % 10 == 9)
            {
                fleet.Unreserve(ids[random.Next(index)]);
            }

            if (churn && index % 100 == 99)
            {
                var node = workload.Nodes[random.Next(workload.Nodes.Count)];
                fleet.Describe(new(node with { Scheduling = random.Next(2) == 0 ? NodeScheduling.Cordoned : NodeScheduling.Schedulable }, (index, 1, 1)));
            }
        }

        var rate = ids.Length / Stopwatch.GetElapsedTime(started).TotalSeconds;
        return placed == ids.Length || !all
            ? rate
            : throw new InvalidOperationException($"Only {placed} of {ids.Length} were placed: a full fleet refuses faster than it takes.");
    }

    /// <summary>What is kept of a decision: the view's age, the class, whose filters' counts are its, and the best three.</summary>
    private readonly record struct Receipt(long View, int Class, Ranking Best);
}
