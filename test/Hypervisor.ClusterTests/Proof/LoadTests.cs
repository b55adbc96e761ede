using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Records;
using Hypervisor.Server.Stores.Sqlite;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects, under 1,000 creates at the same time: each has one effect (IdempotentOnce), no node is ever given more than it has
/// (CapacitySafe), and nothing stays when they are deleted (NoOrphans).
/// </summary>
[Collection(WholeMachine.Name)]
public sealed class LoadTests
{
    private const int Creates = 1000;
    private const int Connections = 8;

    private static readonly Resources Each = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 };

    [Theory(Timeout = 180_000)]
    [InlineData(0)]
    [InlineData(3)]
    public async Task A_thousand_concurrent_creates_have_one_effect_each(int etcdMembers)
    {
        await using var servers = await Servers.StartAsync(etcdMembers: etcdMembers);
        await LoadAsync(servers);
        await servers.Processes[0].StopAsync();
        await RecountAsync(servers);
    }

    private static async Task LoadAsync(Servers servers)
    {
        // Room for 900.
        await using var one = await FakeNode.StartAsync(servers, "one", 400, Each);
        await using var two = await FakeNode.StartAsync(servers, "two", 500, Each);
        var clients = Enumerable.Range(0, Connections).Select(_ => new ComputeService.ComputeServiceClient(servers.Open())).ToList();
        var nodes = new ClusterService.ClusterServiceClient(servers.Open());

        var distinct = await AllAsync(clients, index => Request($"distinct-{index}", ""));
        Assert.All(distinct, answer => Assert.Equal(StatusCode.OK, answer.Code));
        Assert.Equal(Creates, distinct.Select(answer => answer.Uid).Distinct().Count());
        var all = new ListInstancesRequest { PageSize = 2 * Creates };
        var listed = await clients[0].ListInstancesAsync(all, deadline: LocalCluster.Deadline(30));
        Assert.Equal(distinct.Select(answer => answer.Uid).Order(), listed.Instances.Select(instance => instance.Metadata.Uid).Order());
        Assert.Equal(Creates, listed.Instances.Select(instance => instance.Metadata.Name).Distinct().Count());
        await RealTime.UntilAsync("both nodes are full", TimeSpan.FromSeconds(60), () => (one.Held, two.Held) == (400, 500));

        // Without a request_id nobody can know that it is the same request.
        var sameName = await AllAsync(clients, _ => Request("same-name", ""));
        Assert.Single(sameName, answer => answer.Code == StatusCode.OK);
        Assert.Equal(Creates - 1, sameName.Count(answer => answer.Code == StatusCode.AlreadyExists));

        var sameRequest = await AllAsync(clients, _ => Request("same-request", "one-and-the-same"));
        Assert.All(sameRequest, answer => Assert.Equal(StatusCode.OK, answer.Code));
        Assert.Single(sameRequest.Select(answer => answer.Uid).Distinct());

        var deletes = listed.Instances.Select(instance => instance.Metadata.Name).Append("same-name").Append("same-request").ToList();
        await Task.WhenAll(deletes.Select((name, index) => clients[index % Connections].DeleteInstanceAsync(
            new DeleteInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(60)).ResponseAsync));
        await RealTime.UntilAsync("nothing is left on the nodes", TimeSpan.FromSeconds(60), async () =>
            (await nodes.GetClusterInfoAsync(new GetClusterInfoRequest())).InstancesTotal == 0 && (one.Held, two.Held) == (0, 0));
        foreach (var status in (await nodes.ListNodesAsync(new ListNodesRequest())).Nodes.Select(node => node.Status))
        {
            Assert.Equal((0, 0L, 0L), (status.InstanceCount, status.Allocated?.CpuMillicores ?? 0, status.Allocated?.MemoryBytes ?? 0));
        }
    }

    /// <summary>From the store's log: what each node was given at each revision, and that only tombstones are left.</summary>
    private static async Task RecountAsync(Servers servers)
    {
        await using IClusterStore store = servers.Etcd is { } etcd
            ? await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock)
            : await SqliteStore.OpenAsync(servers.DatabaseOf(0), RealTime.Clock);
        var end = await store.GetRevisionAsync(CancellationToken.None);
        var capacity = new Dictionary<string, long>(StringComparer.Ordinal);
        var placed = new Dictionary<string, (string Node, long CpuMillicores)>(StringComparer.Ordinal);
        var given = new Dictionary<string, long>(StringComparer.Ordinal);
        var most = 0L;
        await foreach (var batch in store.WatchAsync("", 1, CancellationToken.None))
        {
            foreach (var (current, deleted) in batch.Changes.Select(change => (change.Current, change.Deleted)))
            {
                if (current.Key.StartsWith(Keys.NodeRegistrations, StringComparison.Ordinal) && !deleted)
                {
                    capacity[current.Key[Keys.NodeRegistrations.Length..]] =
                        NodeRegistrationRecord.Parser.ParseFrom(current.Value.Span).Inventory.Capacity.CpuMillicores;
                }
                else if (current.Key.StartsWith(Keys.Placements, StringComparison.Ordinal))
                {
                    if (placed.Remove(current.Key, out var before))
                    {
                        given[before.Node] -= before.CpuMillicores;
                    }

                    if (!deleted && PlacementRecord.Parser.ParseFrom(current.Value.Span) is { Placement.NodeUid.Length: > 0 } record)
                    {
                        placed[current.Key] = (record.Placement.NodeUid, record.Reserved.CpuMillicores);
                        given[record.Placement.NodeUid] = given.GetValueOrDefault(record.Placement.NodeUid) + record.Reserved.CpuMillicores;
                    }
                }
            }

            Assert.All(given, node => Assert.InRange(node.Value, 0, capacity[node.Key]));
            most = Math.Max(most, given.Values.Sum());
            if (batch.Revision >= end)
            {
                break;
            }
        }

        Assert.Equal(900 * Each.CpuMillicores, most);
        var left = (await store.RangeAsync(RangeQuery.Prefix("instances/"), CancellationToken.None)).Items;
        Assert.Empty(left.Where(item => !item.Key.StartsWith(Keys.Tombstones, StringComparison.Ordinal)).Select(item => item.Key));
        Assert.Equal(Creates + 2, left.Count);
        Assert.All(left, item => Assert.Empty(TombstoneRecord.Parser.ParseFrom(item.Value.Span).PendingNodeUids));
    }

    private static CreateInstanceRequest Request(string name, string requestId) => new()
    {
        Name = name,
        RequestId = requestId,
        Spec = new InstanceSpec { Type = InstanceType.Container, Image = "busybox", Resources = Each },
    };

    private static Task<(StatusCode Code, string Uid)[]> AllAsync(
        List<ComputeService.ComputeServiceClient> clients, Func<int, CreateInstanceRequest> request) =>
        Task.WhenAll(Enumerable.Range(0, Creates).Select(index => OneAsync(clients[index % clients.Count], request(index))));

    private static async Task<(StatusCode Code, string Uid)> OneAsync(
        ComputeService.ComputeServiceClient client, CreateInstanceRequest request)
    {
        try
        {
            var instance = await client.CreateInstanceAsync(request, deadline: LocalCluster.Deadline(60));
            return (StatusCode.OK, instance.Metadata.Uid);
        }
        catch (RpcException exception)
        {
            return (exception.StatusCode, exception.Status.Detail);
        }
    }
}
