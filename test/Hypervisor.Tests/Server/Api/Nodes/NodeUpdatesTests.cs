using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Nodes;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Nodes;

/// <summary>Protects: what operators decide about a node is written as they said, part by part, and never what no node can mean.</summary>
public sealed class NodeUpdatesTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string, string, NodeSpec> Wrong => new()
    {
        { "spec.taints", "node.spec.taints[0].key: 'a b': the key must be 1-63 characters", new() { Taints = { Taint("a b") } } },
        { "spec.taints", "node.spec.taints[0].value: 'a b' must be empty or 1-63 characters", new() { Taints = { Taint("a", "a b") } } },
        {
            "spec.taints", "node.spec.taints[0].effect: is missing or unknown; one of NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE.",
            new() { Taints = { Taint("a", effect: TaintEffect.Unspecified) } }
        },
        { "spec.taints", "node.spec.taints[0].effect: is missing or unknown", new() { Taints = { Taint("a", effect: (TaintEffect)9) } } },
        { "spec.taints", "node.spec.taints[1]: the key 'a' is there twice with this effect; keep one.", new() { Taints = { Taint("a", "1"), Taint("a", "2") } } },
        { "spec.taints", "node.spec.taints: has 17 entries; at most 16 are allowed.", new() { Taints = { Enumerable.Range(0, 17).Select(index => Taint($"k{index}")) } } },
        { "spec.overcommit", "node.spec.overcommit.cpu: NaN is neither 0, which means 1, nor from 1 to 16.", new() { Overcommit = new() { Cpu = double.NaN } } },
        { "spec.overcommit", "node.spec.overcommit.cpu: 0.5 is neither", new() { Overcommit = new() { Cpu = 0.5 } } },
        { "spec.overcommit", "node.spec.overcommit.memory: 17 is neither", new() { Overcommit = new() { Memory = 17 } } },
        { "spec.overcommit", "node.spec.overcommit.memory: -1 is neither", new() { Overcommit = new() { Memory = -1 } } },
        { "spec.overcommit", "node.spec.overcommit.memory:", new() { Overcommit = new() { Memory = double.PositiveInfinity } } },
        { "spec.reserved", "node.spec.reserved.cpu_millicores: -1 is outside 0 to", new() { Reserved = new() { CpuMillicores = -1 } } },
        { "spec.reserved", "node.spec.reserved.memory_bytes: -1 is outside 0 to", new() { Reserved = new() { MemoryBytes = -1 } } },
        { "spec.reserved", "node.spec.reserved.devices[gpu]: -1 is outside 1 to 1024", new() { Reserved = new() { Devices = { ["gpu"] = -1 } } } },
        { "spec.reserved", "node.spec.reserved.disk_bytes: 9223372036854775807 is outside 0 to", new() { Reserved = new() { DiskBytes = long.MaxValue } } },
    };

    [Theory]
    [MemberData(nameof(Wrong))]
    public async Task What_no_node_can_mean_is_refused_with_its_field_and_value(string path, string says, NodeSpec spec)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token);

        var refused = await Assert.ThrowsAsync<RpcException>(() => UpdateAsync(plane, spec, path));

        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        Assert.Contains(says, refused.Status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mask_changes_what_it_names_and_leaves_the_rest()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token);
        await UpdateAsync(plane, new() { Scheduling = NodeScheduling.Cordoned }, "spec.scheduling");
        await UpdateAsync(plane, new() { Taints = { Taint("gpu", "a100"), Taint("gpu", "a100", TaintEffect.NoExecute) } }, "spec.taints");
        await UpdateAsync(plane, new() { Overcommit = new() { Cpu = 16, Memory = 1 } }, "spec.overcommit");
        var node = await UpdateAsync(
            plane, new() { Taints = { Taint("other") }, Reserved = new() { CpuMillicores = 500, MemoryBytes = 1L << 30, DiskBytes = 10L << 30 } }, "spec.reserved");

        Assert.Equal(NodeScheduling.Cordoned, node.Spec.Scheduling);
        Assert.Equal([Taint("gpu", "a100"), Taint("gpu", "a100", TaintEffect.NoExecute)], node.Spec.Taints);
        Assert.Equal(new() { Cpu = 16, Memory = 1 }, node.Spec.Overcommit);
        Assert.Equal(new Resources { CpuMillicores = 56_000, MemoryBytes = 7L << 30, DiskBytes = 90L << 30 }, node.Status.Allocatable);
        Assert.Equal(4000, node.Status.Inventory.Capacity.CpuMillicores);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_is_left_out_is_cleared(bool withoutSpec)
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token);
        string[] all = ["spec.taints", "spec.overcommit", "spec.reserved"];
        await UpdateAsync(plane, new() { Taints = { Taint("gpu") }, Overcommit = new() { Cpu = 2 }, Reserved = new() { CpuMillicores = 500 } }, all);

        var node = await UpdateAsync(plane, withoutSpec ? null : new(), all);

        Assert.Equal(new NodeSpec { Scheduling = NodeScheduling.Schedulable }, node.Spec);
        Assert.Equal(node.Status.Inventory.Capacity, node.Status.Allocatable);
    }

    [Fact]
    public async Task The_same_again_writes_nothing()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.ReadyNodeAsync("a", Token);
        var first = await UpdateAsync(plane, new() { Taints = { Taint("gpu") } }, "spec.taints");

        Assert.Equal(first.Metadata, (await UpdateAsync(plane, new() { Taints = { Taint("gpu") } }, "spec.taints")).Metadata);
    }

    private static Task<Node> UpdateAsync(ControlPlane plane, NodeSpec? spec, params string[] paths) =>
        new NodeUpdates(plane.Reads, plane.Writer, plane.Time).UpdateAsync(
            new() { Node = new() { Metadata = new() { Name = "a" }, Spec = spec }, UpdateMask = new() { Paths = { paths } } }, Token);

    private static Taint Taint(string key, string value = "", TaintEffect effect = TaintEffect.NoSchedule) => new() { Key = key, Value = value, Effect = effect };
}
