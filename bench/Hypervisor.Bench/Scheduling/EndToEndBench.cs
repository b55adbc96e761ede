using System.Diagnostics;
using Grpc.Net.Client;
using Hypervisor.Bench.Fleets;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench.Scheduling;

/// <summary>
/// The shipped server on etcd with 5,000 registered nodes: 50,000 instances through bulk create as fast as four callers go, until each is accepted and
/// bound; and offered at 5,000 a second whether or not earlier ones are bound, each counted from when it was due until its binding is known to the
/// caller.
/// </summary>
internal static class EndToEndBench
{
    private const int Nodes = 5_000;
    private const int Instances = 50_000;
    private const int PerCall = 1_000;
    private const int CallsAtOnce = 4;
    private const int Rounds = 3;
    private const int OfferedPerSecond = 5_000;
    private const int PerOffer = 50;

    private static readonly TimeSpan RegisterWithin = TimeSpan.FromMinutes(20);
    private static readonly TimeSpan BoundWithin = TimeSpan.FromMinutes(5);

    public static async Task RunAsync()
    {
        await using var etcd = await EtcdServer.StartAsync();
        var nodes = new FleetScript { Pools = [new() { Cpus = 64, MemoryBytes = 256L << 30 }] }.Nodes(Nodes, "sim");
        await using var fleet = new SimulatedFleet(etcd.Server.Grpc, new(), nodes, RealTime.Clock, FleetTasks.Beat);
        await fleet.StartAsync(RegisterWithin);
        using var channel = etcd.Server.Open();

        var rates = new List<double>();
        for (var round = 0; round <= Rounds; round++)
        {
            rates.Add(await ThroughputAsync(channel, round));
        }

        // The first one is to warm up.
        Metric.Print("scheduler.endtoend_per_s", Metric.Median(rates[1..]), "1/s");
        await OfferAsync(channel, "warm");
        var waits = await OfferAsync(channel, "open");
        Metric.Print("scheduler.accepted_to_bound_p50_ms", Metric.Median(waits), "ms");
        Metric.Print("scheduler.accepted_to_bound_p99_ms", Metric.Percentile(waits, 0.99), "ms");
        Metric.Print("scheduler.accepted_to_bound_max_ms", waits.Max(), "ms");
    }

    private static async Task<double> ThroughputAsync(GrpcChannel channel, int round)
    {
        var load = new BulkLoad(new(channel), $"round{round}");
        var started = Stopwatch.GetTimestamp();
        await load.CreateAllAsync(Instances, PerCall, CallsAtOnce, CancellationToken.None);
        if (load.Bound < Instances)
        {
            await BoundAsync(new(channel), (round + 1) * Instances);
        }

        return Instances / Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    /// <summary>No instance waits any more.</summary>
    private static Task BoundAsync(ComputeService.ComputeServiceClient compute, int count) => RealTime.UntilAsync($"{count} instances are bound", BoundWithin, async () =>
    {
        var waiting = await compute.ListInstancesAsync(new() { PageSize = 1, States = { InstanceState.Pending }, View = InstanceView.Summary });
        return waiting.Instances.Count == 0;
    });

    /// <summary>Milliseconds from when each was due.</summary>
    private static async Task<List<double>> OfferAsync(GrpcChannel channel, string prefix)
    {
        var (load, compute) = (new BulkLoad(new(channel), prefix), new ComputeService.ComputeServiceClient(channel));
        var calls = new List<Task<double>>(Instances / PerOffer);
        var started = Stopwatch.GetTimestamp();
        for (var first = 0; first < Instances; first += PerOffer)
        {
            var due = TimeSpan.FromSeconds((double)first / OfferedPerSecond);
            if (due - Stopwatch.GetElapsedTime(started) is var early && early > TimeSpan.FromMilliseconds(1))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(Math.Floor(early.TotalMilliseconds)), RealTime.Clock);
            }

            calls.Add(OneAsync(first, due));
        }

        var waits = await Task.WhenAll(calls);
        Metric.Print("scheduler.bound_of_5000_per_s", Instances / Stopwatch.GetElapsedTime(started).TotalSeconds, "1/s");
        Metric.Print("scheduler.repeated_creates", load.Repeated, "creates");
        return [.. waits.SelectMany(wait => Enumerable.Repeat(wait, PerOffer))];

        async Task<double> OneAsync(int first, TimeSpan due)
        {
            foreach (var name in await load.CreateAsync(first, PerOffer, CancellationToken.None))
            {
                await RealTime.UntilAsync($"{name} is bound", BoundWithin, async () =>
                    (await compute.GetInstanceAsync(new() { Instance = name })).Placement is { NodeUid.Length: > 0 });
            }

            return Math.Max(0, (Stopwatch.GetElapsedTime(started) - due).TotalMilliseconds);
        }
    }
}
