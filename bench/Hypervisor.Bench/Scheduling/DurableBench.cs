using System.Diagnostics;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Records;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;

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
        var folder = $"/tmp/hvt-{Environment.ProcessId:x}-durable";
        Directory.CreateDirectory(folder);
        using var stopping = new CancellationTokenSource();
        try
        {
            await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Folder = $"{folder}/etcd" });
            await using var store = await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock);
            await using var writer = new StoreWriter(store, RealTime.Clock);
            var state = new ClusterState(store, RealTime.Clock, new Hypervisor.Hosting.Randomness.SystemRandomSource(), NullLogger<ClusterState>.Instance);
            var following = state.RunAsync(stopping.Token);
            await state.WaitUntilLoadedAsync(stopping.Token);

            var workload = new Workload(Nodes);
            await WriteAllAsync(writer, state, workload.Nodes.Select(NodeRecords));
            var asked = each.Shapes(workload);
            int[] order = each.Groups ? [.. Enumerable.Range(0, Instances).Select(index => index % asked.Count)] : workload.Skewed(asked.Count, Instances);
            if (each.Begun)
            {
                // Each group has its first instance in one zone after the other: all would else follow the first into one.
                await WriteAllAsync(writer, state, asked.Select((request, number) => PlacedRecords(request, Instances + number, workload.Nodes[number])));
            }

            // Older than all others: they come first in the queue.
            await WriteAllAsync(writer, state, Enumerable.Range(0, each.Impossible).Select(index => InstanceRecords(Impossible(asked[index % asked.Count]), index - each.Impossible)));
            await WriteAllAsync(writer, state, order.Select((shape, index) => InstanceRecords(asked[shape], index)));

            await using var leadership = await store.CampaignAsync(Keys.ControllerElection, "bench", Server.Limits.Control.LeaderLease, stopping.Token);
            await state.WaitForRevisionAsync(leadership.Guard.Revision, stopping.Token);
            var placer = new Placer(state, PlacementStrategy.Binpack, RealTime.Clock);
            var controller = new PlacementController(state, store, writer, placer, RealTime.Clock, NullLogger<PlacementController>.Instance);
            var term = new LeaderTerm(leadership.Guard);
            var started = Stopwatch.GetTimestamp();
            using var ending = new CancellationTokenSource();
            var churn = each.Churn ? new Churn(state, writer).RunAsync(ending.Token) : Task.CompletedTask;
            var running = controller.RunAsync(term, ending.Token);
            using var changes = state.Subscribe(state.View.Revision);
            while (state.View.UnplacedByUid.Count > each.Impossible)
            {
                await changes.ReadAsync(TimeSpan.FromSeconds(1), stopping.Token);
                if (churn.IsFaulted)
                {
                    await churn;
                }

                if (Stopwatch.GetElapsedTime(started) > _patience)
                {
                    throw new TimeoutException($"{state.View.UnplacedByUid.Count} instances are still without a node.");
                }
            }

            var rate = Instances / Stopwatch.GetElapsedTime(started).TotalSeconds;
            await ending.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await churn;
            await stopping.CancelAsync();
            await following.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return rate;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task WriteAllAsync(StoreWriter writer, ClusterState state, IEnumerable<IReadOnlyList<StoreOperation>> all)
    {
        var revision = 0L;
        foreach (var chunk in all.Chunk(2_000))
        {
            var written = await Task.WhenAll(chunk.Select(operations => writer.WriteAsync(new([], operations), CancellationToken.None)));
            revision = written.Max(result => result.Revision);
        }

        await state.WaitForRevisionAsync(revision, CancellationToken.None);
    }

    private static IReadOnlyList<StoreOperation> NodeRecords(CandidateNode node) =>
    [
        Put(Keys.NodeSpec(node.Id), new NodeSpecRecord { Metadata = new() { Name = node.Name, Uid = node.Id.Value }, Spec = new() }),
        Put(Keys.NodeRegistration(node.Id), new NodeRegistrationRecord { Inventory = node.Inventory }),
        Put(Keys.NodeHealth(node.Id), new NodeHealthRecord { Liveness = NodeLiveness.Ready }),
    ];

    private static IReadOnlyList<StoreOperation> InstanceRecords(PlacementRequest request, int index)
    {
        var uid = UidOf(index);
        var constraints = new PlacementConstraints { Strategy = request.Strategy };
        constraints.Affinity.AddRange(request.Affinity.Select(term => new AffinityTerm { Selector = term.Text, Topology = term.Topology }));
        constraints.Spread.AddRange(request.Spread.Select(term => new SpreadConstraint { Selector = term.Text, Topology = term.Topology, MaxSkew = term.MaxSkew }));
        constraints.AntiAffinity.AddRange(request.AntiAffinity.Select(term => new AffinityTerm { Selector = term.Text, Topology = term.Topology }));
        var record = new InstanceSpecRecord
        {
            Metadata = new()
            {
                Name = NameOf(index),
                Project = request.Project,
                Uid = uid,
                Generation = 1,
                CreatedAt = DateTimeOffset.UnixEpoch.AddDays(1).AddSeconds(index).ToTimestamp(),
                Labels = { request.Labels.ToDictionary() },
            },
            Spec = new() { Type = InstanceType.Container, Image = "busybox", Resources = request.Reserve.ToResources(), Constraints = constraints },
        };
        return [Put(Keys.Spec(new(uid)), record), Put(Keys.Name(request.Project, NameOf(index)), new NameRecord { Uid = uid })];
    }

    /// <summary>No machine has so many CPUs.</summary>
    private static PlacementRequest Impossible(PlacementRequest request) => request with { Reserve = request.Reserve with { CpuMillicores = 1_000_000 + request.Reserve.CpuMillicores } };

    private static IReadOnlyList<StoreOperation> PlacedRecords(PlacementRequest request, int index, CandidateNode node)
    {
        var placement = new PlacementRecord
        {
            Placement = new() { NodeUid = node.Id.Value, Node = node.Name, Epoch = Epoch.After(Epoch.None, Incarnation.First).Value },
            Reserved = request.Reserve.ToResources(),
        };
        return [.. InstanceRecords(request, index), Put(Keys.Placement(new(UidOf(index))), placement)];
    }

    private static string NameOf(int index) => index < 0 ? $"impossible-{-index}" : $"i-{index}";

    private static string UidOf(int index) => $"00000000-0000-4000-8000-{(index < 0 ? 900_000_000_000 - index : index):D12}";

    private static StoreOperation.Put Put(string key, IMessage value) => new(key, value.ToByteArray());

    /// <param name="Shapes">What is asked for.</param>
    /// <param name="Groups">Every shape is asked for as often as the others.</param>
    /// <param name="Begun">One of each shape is there already.</param>
    /// <param name="Impossible">Instances that fit nowhere, before all others.</param>
    private sealed record DurableCase(
        string Name, Func<Workload, IReadOnlyList<PlacementRequest>> Shapes, bool Groups = false, bool Begun = false, bool Churn = false, int Impossible = 0);
}
