using Grpc.Core;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: what is written about a node is changed by what was typed and by nothing else, and never over somebody else's change.</summary>
public sealed class NodeChangeTests
{
    private static Node Tainted => Node.Parser.ParseJson("""
        {"metadata":{"name":"n1","uid":"u1","resourceVersion":"42","labels":{"disk":"ssd","rack":"r1"}},
         "spec":{"scheduling":"NODE_SCHEDULING_CORDONED","overcommit":{"cpu":4,"memory":1.5},"reserved":{"cpuMillicores":"500","memoryBytes":"1073741824"},
          "taints":[{"key":"gpu","value":"a100","effect":"TAINT_EFFECT_NO_SCHEDULE"},{"key":"gpu","effect":"TAINT_EFFECT_NO_EXECUTE"},
                    {"key":"old","effect":"TAINT_EFFECT_PREFER_NO_SCHEDULE"}]}}
        """);

    [Theory]
    [InlineData("new=x:no-schedule", "gpu=a100:no-schedule, gpu:no-execute, old:prefer-no-schedule, new=x:no-schedule")]
    [InlineData("gpu=h100:no-schedule", "gpu=h100:no-schedule, gpu:no-execute, old:prefer-no-schedule")]
    [InlineData("gpu:prefer-no-schedule", "gpu=a100:no-schedule, gpu:no-execute, old:prefer-no-schedule, gpu:prefer-no-schedule")]
    [InlineData("gpu:no-execute-", "gpu=a100:no-schedule, old:prefer-no-schedule")]
    [InlineData("gpu- gpu=b:no-schedule", "old:prefer-no-schedule, gpu=b:no-schedule")]
    public async Task Taints_are_set_and_removed_by_key_and_effect(string words, string taints)
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        var exitCode = await run.RunAsync(server, ["node", "taint", "n1", .. words.Split(' ')]);

        Assert.Equal((0, $"n1 has the taints {taints}\n"), (exitCode, run.Out));
        var request = Assert.Single(server.Cluster.Updates);
        Assert.Equal(["spec.taints"], request.UpdateMask.Paths);
        Assert.Equal(("n1", "u1", 42), (request.Node.Metadata.Name, request.Node.Metadata.Uid, request.Node.Metadata.ResourceVersion));
    }

    [Fact]
    public async Task Removing_all_taints_leaves_none()
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "taint", "n1", "gpu-", "old-"));

        Assert.Equal("n1 has no taints\n", run.Out);
        Assert.Empty(server.Cluster.Updated!.Node.Spec.Taints);
    }

    [Theory]
    [InlineData("gpu", "'gpu' is no taint.")]
    [InlineData("gpu=a100", "'gpu=a100' is no taint.")]
    [InlineData("gpu=a100-", "'gpu=a100-' is no taint.")]
    [InlineData("gpu=a100:no-schedule-", "'gpu=a100:no-schedule-' is no taint.")]
    [InlineData(":no-schedule", "':no-schedule' is no taint.")]
    [InlineData("=x:no-schedule", "'=x:no-schedule' is no taint.")]
    [InlineData("gpu:", "'gpu:': '' is not one of no-schedule, prefer-no-schedule, no-execute.")]
    [InlineData("gpu:fast", "'gpu:fast': 'fast' is not one of")]
    [InlineData("gpu:fast-", "'gpu:fast-': 'fast' is not one of")]
    [InlineData("none-", "n1 has no taint 'none', but gpu=a100:no-schedule, gpu:no-execute, old:prefer-no-schedule; nothing was changed.")]
    [InlineData("old:no-execute-", "n1 has no taint 'old:no-execute', but ")]
    [InlineData("good:no-schedule bad", "'bad' is no taint.")]
    public async Task What_cannot_be_done_is_named_and_nothing_is_changed(string words, string complaint)
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, ["node", "taint", "n1", .. words.Split(' ')]));

        Assert.Contains(complaint, run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Cluster.Updates);
    }

    [Fact]
    public async Task Labels_are_set_and_removed()
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "label", "n1", "disk=nvme", "rack-", "empty="));

        var request = Assert.Single(server.Cluster.Updates);
        Assert.Equal(["metadata.labels"], request.UpdateMask.Paths);
        Assert.Equal(new Dictionary<string, string> { ["disk"] = "nvme", ["empty"] = "" }, request.Node.Metadata.Labels);
        Assert.Equal(42, request.Node.Metadata.ResourceVersion);
        Assert.Equal("n1 has the labels disk=nvme, empty=\n", run.Out);
    }

    [Theory]
    [InlineData("disk", "'disk' is no label.")]
    [InlineData("=ssd", "'=ssd' is no label.")]
    [InlineData("none-", "n1 has no label 'none'; nothing was changed.")]
    public async Task What_is_no_label_is_named(string word, string complaint)
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, "node", "label", "n1", word));

        Assert.Contains(complaint, run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Cluster.Updates);
    }

    [Fact]
    public async Task A_label_that_the_agent_keeps_is_not_said_to_be_gone()
    {
        await using var server = await StartAsync();
        server.Cluster.OnUpdate = _ => Tainted;
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "node", "label", "n1", "disk-"));

        Assert.Equal("", run.Out);
        Assert.Contains("n1 keeps its label disk=ssd: its agent sets it.", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Overcommit_and_reserve_keep_what_was_not_typed()
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(
            server, "node", "set", "n1", "--overcommit-memory", "2", "--reserve-cpus", "1.5", "--reserve-disk", "10GiB"));

        var request = Assert.Single(server.Cluster.Updates);
        Assert.Equal(["spec.overcommit", "spec.reserved"], request.UpdateMask.Paths);
        Assert.Equal(42, request.Node.Metadata.ResourceVersion);
        Assert.Equal(new Overcommit { Cpu = 4, Memory = 2 }, request.Node.Spec.Overcommit);
        Assert.Equal(new Resources { CpuMillicores = 1500, MemoryBytes = 1L << 30, DiskBytes = 10L << 30 }, request.Node.Spec.Reserved);
        Assert.Equal("n1 overcommits CPUs x4, memory x2 and reserves CPUs 1.5, memory 1GiB, disk 10GiB\n", run.Out);
    }

    [Fact]
    public async Task Devices_are_kept_back_by_name()
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(server, "node", "set", "n1", "--reserve-device", "nic=2", "--reserve-device", "gpu", "--reserve-device", "tpu-"));

        Assert.Equal(["spec.reserved"], server.Cluster.Updated!.UpdateMask.Paths);
        Assert.Equal(new Dictionary<string, int> { ["gpu"] = 1, ["nic"] = 2 }, server.Cluster.Updated.Node.Spec.Reserved.Devices);
        Assert.EndsWith("reserves CPUs 0.5, memory 1GiB, gpu 1, nic 2\n", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_and_nothing_take_them_back()
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(0, await run.RunAsync(
            server, "node", "set", "n1", "--overcommit-cpu", "1", "--overcommit-memory", "0", "--reserve-cpus", "0", "--reserve-memory", "0"));

        Assert.Equal("n1 overcommits nothing and reserves nothing\n", run.Out);
        Assert.Equal(new Resources(), server.Cluster.Updated!.Node.Spec.Reserved);
    }

    [Fact]
    public async Task Only_the_part_that_was_typed_is_in_the_mask()
    {
        await using var server = await StartAsync();

        Assert.Equal(0, await new CtlRun().RunAsync(server, "node", "set", "n1", "--reserve-memory", "512"));

        Assert.Equal(["spec.reserved"], server.Cluster.Updated!.UpdateMask.Paths);
        Assert.Equal(512L << 20, server.Cluster.Updated.Node.Spec.Reserved.MemoryBytes);
    }

    [Theory]
    [InlineData("", "Nothing to change: no flag was given.")]
    [InlineData("--overcommit-cpu 0.5", "--overcommit-cpu: '0.5' is no factor")]
    [InlineData("--overcommit-cpu 17", "--overcommit-cpu: '17' is no factor")]
    [InlineData("--overcommit-memory NaN", "--overcommit-memory: 'NaN' is no factor")]
    [InlineData("--reserve-cpus few", "--reserve-cpus: 'few' is no amount")]
    [InlineData("--reserve-device =1", "--reserve-device: '=1' is no device.")]
    [InlineData("--reserve-device gpu=few", "--reserve-device: 'gpu=few' is no device.")]
    [InlineData("--reserve-device gpu=-1", "--reserve-device: 'gpu=-1' is no device.")]
    [InlineData("--reserve-memory 1parsec", "--reserve-memory: '1parsec' is no amount")]
    public async Task What_is_no_amount_is_said_before_anything_is_asked(string flags, string complaint)
    {
        await using var server = await StartAsync();
        var run = new CtlRun();

        Assert.Equal(2, await run.RunAsync(server, ["node", "set", "n1", .. flags.Split(' ', StringSplitOptions.RemoveEmptyEntries)]));

        Assert.Contains(complaint, run.Error, StringComparison.Ordinal);
        Assert.Empty(server.Cluster.Updates);
    }

    [Fact]
    public async Task Who_lost_a_race_reads_again_and_keeps_what_the_other_wrote()
    {
        await using var server = await StartAsync();
        var version = 42;
        server.Cluster.OnGet = _ =>
        {
            var node = Tainted;
            node.Metadata.ResourceVersion = version;
            node.Spec.Taints.Add(new Taint { Key = $"v{version}", Effect = TaintEffect.NoSchedule });
            return node;
        };
        server.Cluster.OnUpdate = request => ++version == 43 ? throw Changed() : request.Node;

        Assert.Equal(0, await new CtlRun().RunAsync(server, "node", "taint", "n1", "mine:no-schedule", "gpu-"));

        Assert.Equal([42L, 43L], server.Cluster.Updates.Select(update => update.Node.Metadata.ResourceVersion));
        Assert.Equal(["old", "v43", "mine"], server.Cluster.Updated!.Node.Spec.Taints.Select(taint => taint.Key));
        Assert.Equal(2, server.Cluster.Updates.Select(update => update.RequestId).Distinct().Count());
    }

    [Fact]
    public async Task A_node_that_keeps_changing_is_given_up()
    {
        await using var server = await StartAsync();
        server.Cluster.OnUpdate = _ => throw Changed();
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "node", "label", "n1", "a=b"));

        Assert.Equal(5, server.Cluster.Updates.Count);
        Assert.Contains("It changed in the meantime", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Any_other_refusal_is_the_answer()
    {
        await using var server = await StartAsync();
        server.Cluster.OnUpdate = _ => throw new RpcException(new Status(StatusCode.InvalidArgument, "too many taints"));
        var run = new CtlRun();

        Assert.Equal(1, await run.RunAsync(server, "node", "taint", "n1", "a:no-schedule"));

        Assert.Single(server.Cluster.Updates);
        Assert.Contains("too many taints", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Programs_get_the_node_or_its_name()
    {
        await using var server = await StartAsync();
        var (name, json) = (new CtlRun(), new CtlRun());

        Assert.Equal(0, await name.RunAsync(server, "node", "label", "n1", "a=b", "-o", "name"));
        Assert.Equal(0, await json.RunAsync(server, "node", "label", "n1", "a=b", "-o", "json"));

        Assert.Equal("n1\n", name.Out);
        Assert.Equal("b", Node.Parser.ParseJson(json.Out).Metadata.Labels["a"]);
    }

    private static async Task<FakeServer> StartAsync()
    {
        var server = await FakeServer.StartAsync();
        server.Cluster.OnGet = _ => Tainted;
        return server;
    }

    private static RpcException Changed() => new(new Status(StatusCode.Aborted, "read it again"));
}
