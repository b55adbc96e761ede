using System.Diagnostics;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Trials;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Bench.Scheduling;

/// <summary>How long it takes to say what would come of the loss of a zone and of a region, and of 100,000 instances more, with 10,000 nodes and 100,000 instances.</summary>
internal static class WhatIfBench
{
    private const int Nodes = 10_000;
    private const int Instances = 100_000;
    private const int Rounds = 3;

    public static Task RunAsync()
    {
        var workload = new Workload(Nodes);
        var asked = workload.Shapes(200);
        var view = ViewOf(workload, asked);
        var zone = workload.Nodes.Where(node => node.Inventory.Region == workload.Nodes[0].Inventory.Region && node.Inventory.Zone == workload.Nodes[0].Inventory.Zone);
        var region = workload.Nodes.Where(node => node.Inventory.Region == workload.Nodes[0].Inventory.Region);
        Measure("lose_zone", view, new(zone.Select(node => node.Id).ToHashSet(), [], []));
        Measure("lose_region", view, new(region.Select(node => node.Id).ToHashSet(), [], []));
        Measure("place_100k", view, new(new HashSet<NodeId>(), [], [(asked[0], Instances)]));
        return Task.CompletedTask;
    }

    private static void Measure(string name, ClusterView view, WhatIfChanges changes)
    {
        var seconds = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            var started = Stopwatch.GetTimestamp();
            var response = WhatIf.Try(view, changes, PlacementStrategy.Binpack, CancellationToken.None);
            seconds.Add(Stopwatch.GetElapsedTime(started).TotalSeconds);
            if (response.Displaced.Fitting + response.Placed.Sum(placed => placed.Fitting) == 0)
            {
                throw new InvalidOperationException($"Of {name} nothing was placed: this measures something else.");
            }
        }

        Metric.Print($"scheduler.what_if.{name}_s", Metric.Median(seconds), "s");
    }

    /// <summary>Ten instances on each node.</summary>
    private static ClusterView ViewOf(Workload workload, IReadOnlyList<PlacementRequest> asked)
    {
        var (byUid, byName) = (OrderedMap<InstanceEntry>.Empty.ToBuilder(), OrderedMap<InstanceEntry>.Empty.ToBuilder());
        var (nodesByUid, nodesByName) = (OrderedMap<NodeEntry>.Empty.ToBuilder(), OrderedMap<NodeEntry>.Empty.ToBuilder());
        var uids = new List<string>[Nodes];
        for (var number = 0; number < Instances; number++)
        {
            var node = workload.Nodes[number % Nodes];
            var instance = Instance(number, node, asked[number % asked.Count]);
            byUid.Set(instance.Id.Value, instance);
            byName.Set(instance.ListKey, instance);
            (uids[number % Nodes] ??= []).Add(instance.Id.Value);
        }

        foreach (var (number, node) in workload.Nodes.Index())
        {
            var entry = Node(node, uids[number]);
            nodesByUid.Set(entry.Id.Value, entry);
            nodesByName.Set(entry.Name, entry);
        }

        return new()
        {
            Revision = 1,
            Incarnation = Incarnation.First,
            ClusterUid = "bench",
            InstancesByUid = byUid.ToMap(),
            InstancesByName = byName.ToMap(),
            NodesByUid = nodesByUid.ToMap(),
            NodesByName = nodesByName.ToMap(),
        };
    }

    private static NodeEntry Node(CandidateNode node, IEnumerable<string> uids) => new()
    {
        Id = node.Id,
        SpecRecord = new() { Metadata = new() { Name = node.Name, Uid = node.Id.Value } },
        SpecRevision = 1,
        RegistrationRecord = new() { Inventory = node.Inventory },
        RegistrationRevision = 1,
        HealthRecord = new() { Liveness = NodeLiveness.Ready },
        HealthRevision = 1,
        ResourceVersion = ResourceVersion.None,
        InstanceUids = NodeEntry.NoInstances.Union(uids),
    };

    private static InstanceEntry Instance(int number, CandidateNode node, PlacementRequest asked) => new()
    {
        Id = new($"i-{number}"),
        SpecRecord = new()
        {
            Metadata = new() { Name = $"i-{number}", Project = "bench", Uid = $"i-{number}", CreatedAt = Timestamp.FromDateTimeOffset(DateTimeOffset.UnixEpoch.AddSeconds(number)) },
            Spec = new() { Type = InstanceType.Container, Resources = asked.Reserve.ToResources() },
        },
        SpecRevision = 1,
        PlacementRecord = new PlacementRecord
        {
            Placement = new() { Node = node.Name, NodeUid = node.Id.Value, Epoch = Epoch.After(Epoch.None, Incarnation.First).Value },
            Reserved = asked.Reserve.ToResources(),
        },
        PlacementRevision = 1,
        ResourceVersion = ResourceVersion.None,
    };
}
