using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Bench.Scheduling;

/// <summary>Nodes and instances as the API writes them.</summary>
internal static class SceneRecords
{
    public static IReadOnlyList<StoreOperation> Node(CandidateNode node) =>
    [
        Put(Keys.NodeSpec(node.Id), new NodeSpecRecord { Metadata = new() { Name = node.Name, Uid = node.Id.Value }, Spec = new() }),
        Put(Keys.NodeRegistration(node.Id), new NodeRegistrationRecord { Inventory = node.Inventory }),
        Put(Keys.NodeHealth(node.Id), new NodeHealthRecord { Liveness = NodeLiveness.Ready }),
    ];

    /// <param name="index">Its age: the lower the older.</param>
    public static IReadOnlyList<StoreOperation> Instance(PlacementRequest request, int index)
    {
        var uid = UidOf(index);
        var constraints = new PlacementConstraints { Strategy = request.Strategy, Priority = request.Priority };
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
        return [Put(Keys.Spec(request.Project, NameOf(index)), record)];
    }

    public static IReadOnlyList<StoreOperation> Placed(PlacementRequest request, int index, CandidateNode node)
    {
        var placement = new PlacementRecord
        {
            Placement = new() { NodeUid = node.Id.Value, Node = node.Name, Epoch = Epoch.After(Epoch.None, Incarnation.First).Value },
            Reserved = request.Reserve.ToResources(),
        };
        return [.. Instance(request, index), Put(Keys.Placement(new(UidOf(index))), placement)];
    }

    private static string NameOf(int index) => index < 0 ? $"impossible-{-index}" : $"i-{index}";

    private static string UidOf(int index) => $"00000000-0000-4000-8000-{(index < 0 ? 900_000_000_000 - index : index):D12}";

    private static StoreOperation.Put Put(string key, IMessage value) => new(key, value.ToByteArray());
}
