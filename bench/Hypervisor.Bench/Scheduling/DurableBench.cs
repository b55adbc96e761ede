using System.Diagnostics;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// Durable placements per second: instances that were accepted while nobody led are placed by the leader's controller, each with one record of its
/// own in a single-member etcd on the same two cores. From the first look until the view shows the last.
/// </summary>
internal static class DurableBench
{
    private const int Nodes = 5_000;
    private const int Instances = 50_000;
    private const int Rounds = 3;

    /// <summary>A hundred times what it takes: some instance fits nowhere.</summary>
    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(4);

    public static async Task RunAsync()
    {
        Console.WriteLine("published, other hardware: Kubernetes scheduler_perf at 5,000 nodes basic 680-810/s, spread 460/s, anti-affinity 60/s; Nomad C1M 3,750/s on 5 servers; kube-scheduler 1.20 on two cores like these: 250-351/s, 100-150/s, 80-90/s");

        // Once for the compiler: the first that is measured would else be measured with it.
        await RunOnceAsync(new("warm", workload => workload.Shapes(200)));
        await MeasureAsync(new("basic", workload => workload.Shapes(200)));
        await MeasureAsync(new("zone-spread", workload => workload.Shapes(200, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.Spread.Add(new SpreadConstraint { Selector = $"app=a{number}", Topology = "zone", MaxSkew = 1 });
        })));
        await MeasureAsync(new("anti-affinity", workload => workload.Shapes(1_000, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.AntiAffinity.Add(new AffinityTerm { Selector = $"app=a{number}" });
        }), Groups: true));
        await MeasureAsync(new("affinity", workload => workload.Shapes(200, (number, constraints, labels) =>
        {
            labels["app"] = $"a{number}";
            constraints.Affinity.Add(new AffinityTerm { Selector = $"app=a{number}", Topology = "zone" });
        }), Groups: true, Begun: true));
        await MeasureAsync(new("churn", workload => workload.Shapes(200), Churn: true));
        var impossible = new DurableCase("impossible", workload => workload.Shapes(200), Impossible: 5_000);
        var (with, without) = (new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            with.Add(await RunOnceAsync(impossible));
            without.Add(await RunOnceAsync(impossible with { Impossible = 0 }));
        }

        Metric.Print("scheduler.impossible.durable_per_s", Metric.Median(with), "1/s");
        Metric.Print("scheduler.impossible.durable_ratio_basic", Metric.Median(with) / Metric.Median(without), "ratio");
        await PreemptionBench.RunDurableAsync();
    }

    private static async Task<double> MeasureAsync(DurableCase each)
    {
        var rates = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            rates.Add(await RunOnceAsync(each));
        }

        Metric.Print($"scheduler.{each.Name}.durable_per_s", Metric.Median(rates), "1/s");
        return Metric.Median(rates);
    }

    private static async Task<double> RunOnceAsync(DurableCase each)
    {
        await using var scene = await PlacementScene.StartAsync(durable: true);
        var workload = new Workload(Nodes);
        await scene.WriteAllAsync(workload.Nodes.Select(SceneRecords.Node));
        var asked = each.Shapes(workload);
        int[] order = each.Groups ? [.. Enumerable.Range(0, Instances).Select(index => index % asked.Count)] : workload.Skewed(asked.Count, Instances);
        if (each.Begun)
        {
            // Each group has its first instance in one zone after the other: all would else follow the first into one.
            await scene.WriteAllAsync(asked.Select((request, number) => SceneRecords.Placed(request, Instances + number, workload.Nodes[number])));
        }

        // Older than all others: they come first in the queue.
        await scene.WriteAllAsync(Enumerable.Range(0, each.Impossible).Select(index => SceneRecords.Instance(Impossible(asked[index % asked.Count]), index - each.Impossible)));
        await scene.WriteAllAsync(order.Select((shape, index) => SceneRecords.Instance(asked[shape], index)));

        using var ending = new CancellationTokenSource();
        await scene.LeadAsync();
        var started = Stopwatch.GetTimestamp();
        var churn = each.Churn ? new Churn(scene.State, scene.Writer).RunAsync(ending.Token) : Task.CompletedTask;
        var running = scene.Controller.RunAsync(scene.Term, ending.Token);
        await scene.UntilAsync(view => view.UnplacedByUid.Count <= each.Impossible, _patience, churn);
        var rate = Instances / Stopwatch.GetElapsedTime(started).TotalSeconds;
        await ending.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await churn;
        return rate;
    }

    /// <summary>No machine has so many CPUs.</summary>
    private static PlacementRequest Impossible(PlacementRequest request) => request with { Reserve = request.Reserve with { CpuMillicores = 1_000_000 + request.Reserve.CpuMillicores } };

    /// <param name="Shapes">What is asked for.</param>
    /// <param name="Groups">Every shape is asked for as often as the others.</param>
    /// <param name="Begun">One of each shape is there already.</param>
    /// <param name="Impossible">Instances that fit nowhere, before all others.</param>
    private sealed record DurableCase(
        string Name, Func<Workload, IReadOnlyList<PlacementRequest>> Shapes, bool Groups = false, bool Begun = false, bool Churn = false, int Impossible = 0);
}
