using Google.Rpc;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Controllers;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Trials;

/// <summary>Protects: what is said to come of a loss is what then comes of it, and asking changes nothing.</summary>
public sealed class WhatIfTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_lost_zone_says_who_moves_where_and_who_has_no_place_and_why()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a", memoryMiB: 1024);
        await zones.InstanceAsync("stays", 256, change: At("a"));
        await zones.NodeAsync("n2", "b");
        await zones.InstanceAsync("small", 128);
        await zones.InstanceAsync("large", 2048);
        await zones.InstanceAsync("tied", 128, DiskKind.Local, change: record => record.Spec.Constraints = new() { PreferredZone = "b" });
        await zones.InstanceAsync("here", 128, change: At("b"));
        await zones.PlaceAsync();
        var before = await zones.Plane.Store.GetRevisionAsync(Token);

        var response = await zones.TryAsync(new() { LoseZones = { "b" } });

        Assert.Equal((1, 0, 1), (response.NodesLost, response.NodesAdded, response.NodesTotal));
        Assert.Equal((4, 1), (response.Displaced.Instances, response.Displaced.Fitting));
        Assert.Equal(("default/small", "n1"), (response.Displaced.Examples.Single().Instance, response.Displaced.Examples.Single().Node));
        Assert.Equal(
            [
                ("InsufficientResources", "1 node: 1 has 640 MiB of memory free of the 2 GiB asked for", "default/large"),
                (PlacementNeeds.LocalDiskLost, "Its local disk is on a node that is lost; it starts nowhere else.", "default/tied"),
                ("NoFittingNode", "1 node: 1 is not in zone b", "default/here"),
            ],
            response.Displaced.Refusals.Select(refusal => (refusal.Reason, refusal.Message, refusal.Examples.Single())));
        Assert.Equal("allow another zone than b (n1)", response.Displaced.Refusals[2].Remedies[0].Text);
        var (a, b) = (response.Zones[0], response.Zones[1]);
        Assert.Equal(("a", 1, 1, 768L << 20, 640L << 20), (a.Zone, a.NodesBefore, a.NodesAfter, a.FreeBefore.MemoryBytes, a.FreeAfter.MemoryBytes));
        Assert.Equal(("b", 1, 0, 0), (b.Zone, b.NodesBefore, b.NodesAfter, b.FreeAfter.MemoryBytes));
        Assert.Equal(before, await zones.Plane.Store.GetRevisionAsync(Token));
    }

    /// <summary>Protects: the copy decides as the leader does, in its order, for whatever instances and nodes there are.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public async Task What_comes_of_a_loss_is_what_was_said(int seed)
    {
        var random = new Random(seed);
        await using var zones = await ZonedPlane.StartAsync(Token);
        var lost = new List<NodeId>();
        for (var node = 0; node < 6; node++)
        {
            var zone = "abc"[node % 3].ToString();
            var id = await zones.NodeAsync($"n{node}", zone, 512 * random.Next(1, 5), gpus: random.Next(3));
            if (zone == "b")
            {
                lost.Add(id);
            }
        }

        var ids = new Dictionary<string, InstanceId>();
        for (var instance = 0; instance < 18; instance++)
        {
            ids[$"default/i{instance}"] = await zones.InstanceAsync(
                $"i{instance}", 128 * random.Next(1, 5), random.Next(8) == 0 ? DiskKind.Local : DiskKind.Ephemeral, record => Constrain(record, random));
        }

        await zones.PlaceAsync();
        var said = await zones.TryAsync(new() { LoseZones = { "b" } });
        var told = said.Displaced.Examples.Concat(said.Waiting.Examples).ToDictionary(example => example.Instance, example => example.Node);
        var refused = said.Displaced.Refusals.Concat(said.Waiting.Refusals).SelectMany(refusal => refusal.Examples).ToHashSet();

        foreach (var node in lost)
        {
            await zones.Plane.Registry.DeregisterAsync(node.Value, fenced: true, Token);
        }

        await zones.PlaceAsync();

        Assert.Equal(said.Displaced.Fitting + said.Waiting.Fitting, told.Count);
        foreach (var (name, node) in told)
        {
            Assert.Equal((name, node), (name, await zones.NodeOfAsync(ids[name])));
        }

        foreach (var (name, id) in ids)
        {
            Assert.Equal((name, refused.Contains(name)), (name, (await zones.NodeOfAsync(id)).Length == 0));
        }
    }

    [Fact]
    public async Task What_is_added_takes_what_is_lost_and_what_waits_the_oldest_first_and_then_what_is_placed()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "a", memoryMiB: 1024);
        await zones.InstanceAsync("lost", 1000);
        await zones.InstanceAsync("waits", 1024);
        await zones.PlaceAsync();

        var response = await zones.TryAsync(new()
        {
            LoseNodes = { "n1" },
            Add = { new WhatIfNodes { Count = 3, Like = "n1", Zone = "z" } },
            Place = { new WhatIfInstances { Count = 20, Spec = Web(100) } },
        });

        Assert.Equal(("default/lost", "n1+1"), (response.Displaced.Examples.Single().Instance, response.Displaced.Examples.Single().Node));
        Assert.Equal(("default/waits", "n1+2"), (response.Waiting.Examples.Single().Instance, response.Waiting.Examples.Single().Node));
        var placed = Assert.Single(response.Placed);
        Assert.Equal((20, 10, 10), (placed.Instances, placed.Fitting, placed.Examples.Count));
        Assert.Equal(("1", "n1+3"), (placed.Examples[0].Instance, placed.Examples[0].Node));
        var refusal = Assert.Single(placed.Refusals);
        Assert.Equal((10, "InsufficientResources"), (refusal.Instances, refusal.Reason));
        Assert.Equal(Enumerable.Range(11, 10).Select(number => $"{number}"), refusal.Examples);
        Assert.Equal([("a", 1, 0), ("z", 0, 3)], response.Zones.Select(zone => (zone.Zone, zone.NodesBefore, zone.NodesAfter)));
    }

    [Fact]
    public async Task What_is_lost_has_to_be_there_and_to_be_one_thing()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);
        await zones.NodeAsync("n1", "eu/a");
        await zones.NodeAsync("n2", "us/a");

        await AssertRefusedAsync(zones, new() { LoseZones = { "b" } }, "lose_zones[0]", "no node is in zone 'b'; there are eu/a, us/a.");
        await AssertRefusedAsync(zones, new() { LoseZones = { "a" } }, "lose_zones[0]", "'a' is a zone of several regions; write one of eu/a, us/a.");
        await AssertRefusedAsync(zones, new() { LoseRegions = { "asia" } }, "lose_regions[0]", "no node is in region 'asia'; there are eu, us.");
        Assert.Equal(1, (await zones.TryAsync(new() { LoseZones = { "us/a" } })).NodesLost);
        Assert.Equal(1, (await zones.TryAsync(new() { LoseRegions = { "eu" }, LoseNodes = { "n1" } })).NodesLost);
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(() => zones.TryAsync(new() { LoseNodes = { "n3" } }))).StatusCode);
    }

    [Fact]
    public async Task Whatever_is_wrong_with_a_request_is_named_at_once()
    {
        await using var zones = await ZonedPlane.StartAsync(Token);

        await AssertRefusedAsync(zones, new(), "lose_zones", "nothing is asked");
        var request = new WhatIfRequest
        {
            Add = { new WhatIfNodes { Count = 0, Like = "n1" }, new WhatIfNodes { Count = 10_001, Like = "n1" } },
            Place = { new WhatIfInstances { Count = 60_000, Spec = Web(64) }, new WhatIfInstances { Count = 60_000 } },
        };
        request.LoseNodes.AddRange(Enumerable.Range(0, 65).Select(number => $"n{number}"));
        var refused = await Assert.ThrowsAsync<RpcException>(() => zones.TryAsync(request));
        Assert.Equal(
            ["lose_nodes", "add[0].count", "add[1].count", "place", "place[1].spec"],
            refused.GetRpcStatus()!.GetDetail<BadRequest>().FieldViolations.Select(violation => violation.Field));
    }

    private static async Task AssertRefusedAsync(ZonedPlane zones, WhatIfRequest request, string field, string description)
    {
        var failure = await Assert.ThrowsAsync<RpcException>(() => zones.TryAsync(request));
        Assert.Equal(StatusCode.InvalidArgument, failure.StatusCode);
        Assert.Contains(field, failure.Status.Detail, StringComparison.Ordinal);
        Assert.Contains(description, failure.Status.Detail, StringComparison.Ordinal);
    }

    private static InstanceSpec Web(int memoryMiB) => new()
    {
        Type = InstanceType.Container,
        Image = "busybox",
        Resources = new() { CpuMillicores = 10, MemoryBytes = (long)memoryMiB << 20 },
    };

    private static Action<Hypervisor.Server.Stores.Records.InstanceSpecRecord> At(string zone) => record => record.Spec.Constraints = new() { Zone = zone };

    private static void Constrain(Hypervisor.Server.Stores.Records.InstanceSpecRecord record, Random random)
    {
        record.Metadata.Labels["app"] = random.Next(2) == 0 ? "web" : "db";
        if (random.Next(4) == 0)
        {
            record.Spec.Resources.Devices["gpu"] = random.Next(1, 3);
        }

        var constraints = record.Spec.Constraints = new();
        switch (random.Next(6))
        {
            case 0:
                constraints.AntiAffinity.Add(new AffinityTerm { Selector = "app=db", Topology = random.Next(2) == 0 ? "node" : "zone" });
                break;
            case 1:
                constraints.Affinity.Add(new AffinityTerm { Selector = "app=web", Topology = "zone", Preferred = random.Next(2) == 0 });
                break;
            case 2:
                constraints.Spread.Add(new SpreadConstraint { Selector = "app=web", MaxSkew = 2, Preferred = random.Next(2) == 0 });
                break;
            case 3:
                constraints.Strategy = PlacementStrategy.Binpack;
                break;
            default:
                break;
        }
    }
}
