using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>
/// Protects: on three real nodes: who has to leave one is stopped and gone there before anybody has its room, or itself runs elsewhere, and nothing of it
/// is left.
/// </summary>
public sealed class EvictionTests(ThreeZones zones) : IClassFixture<ThreeZones>, IAsyncLifetime
{
    private readonly CommandLine _ctl = new(zones.Cluster);

    private LocalCluster Cluster => zones.Cluster;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync() => await zones.ClearAsync();

    [Fact]
    public async Task A_higher_priority_gets_the_room_of_a_lower_one()
    {
        var most = (await Cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n3" }, deadline: LocalCluster.Deadline(10))).Status.Allocatable.CpuMillicores;
        await CreateAsync("low", "--zone", "c", "--cpus", $"{most * 8 / 10}m", "--priority", "low");
        var low = await Cluster.RunningAsync("low");
        await CreateAsync("high", "--zone", "c", "--cpus", $"{most / 2}m", "--priority", "high");

        var high = await Cluster.RunningAsync("high");
        Assert.Equal("n3", high.Placement.Node);
        Assert.False(Directory.Exists($"/sys/fs/cgroup/pids{Machine("n3").CgroupParent}/{low.Metadata.Uid}"), "nothing of the one that left runs");
        await Cluster.InstanceAsync("low", "waits", instance => instance is { Status.State: InstanceState.Pending, Placement.Reason: "InsufficientResources" });
        await ToldAsync("low", "Makes room for 'high'");

        await Cluster.DeleteAsync("high");
        var back = await Cluster.RunningAsync("low");
        Assert.True(back.Placement.Epoch > low.Placement.Epoch);
    }

    [Theory]
    [InlineData("node drain n1", "node uncordon n1", "Drained")]
    [InlineData("node taint n1 broken:no-execute", "node taint n1 broken-", "TaintNotTolerated")]
    public async Task What_is_on_a_node_that_is_to_be_empty_goes_on_elsewhere(string begin, string end, string reason)
    {
        string[] names = ["one", "two"];
        foreach (var name in names)
        {
            await CreateAsync(name, "--preferred-node", "n1");
        }

        var before = await Task.WhenAll(names.Select(name => Cluster.RunningAsync(name)));
        Assert.All(before, instance => Assert.Equal("n1", instance.Placement.Node));

        await _ctl.RunAsync(begin.Split(' '));
        foreach (var instance in before)
        {
            var moved = await Cluster.InstanceAsync(
                instance.Metadata.Name, "runs elsewhere", now => now.Status.State == InstanceState.Running && now.Placement.Node is not ("" or "n1"));
            Assert.True(moved.Placement.Epoch > instance.Placement.Epoch);
            Assert.False(Directory.Exists($"/sys/fs/cgroup/pids{Machine("n1").CgroupParent}/{instance.Metadata.Uid}"), "nothing of it is left");
            await ToldAsync(instance.Metadata.Name, reason);
        }

        await _ctl.RunAsync(end.Split(' '));
    }

    /// <summary>Protects: who drains a node is told by every way of asking what it waits for, until it is gone.</summary>
    [Fact]
    public async Task What_holds_a_drain_up_is_said_of_the_node_until_it_is_gone()
    {
        await CreateAsync("bound", "--zone", "a");
        await CreateAsync("free", "--preferred-node", "n1");
        await _ctl.RunAsync(
            "group", "create", "web", "--count", "1", "--max-disrupted", "0", "--preferred-node", "n1", "--type", "container", "--image", "busybox",
            "--command", "sleep", "--command", "3600", "--memory", "32", "--cpus", "50m", "--stop-signal", "KILL");
        var member = (await Cluster.Compute.ListInstancesAsync(
            new ListInstancesRequest { LabelSelector = "hypervisor.zixiao/group=web" }, deadline: LocalCluster.Deadline(10))).Instances.Single();
        foreach (var name in new[] { "bound", "free", member.Metadata.Name })
        {
            Assert.Equal("n1", (await Cluster.RunningAsync(name)).Placement.Node);
        }

        await _ctl.RunAsync("node", "drain", "n1");
        var waits = $"The drain waits for 2 instances: default/bound (no other node has a place for it), default/{member.Metadata.Name} "
            + "(disruption budget of group web: 0 of at most 0 unavailable).";
        await SaysAsync(waits);
        await Cluster.InstanceAsync("free", "runs elsewhere", now => now.Status.State == InstanceState.Running && now.Placement.Node is not ("" or "n1"));
        await SaysAsync(waits);
        Assert.Contains($"{waits} 'hypervisor-ctl node get n1' says how far it is.", await _ctl.RunAsync("node", "drain", "n1"), StringComparison.Ordinal);
        var before = await ConditionAsync();
        Assert.Equal(("Drained", ConditionStatus.False, "HeldUp"), (before.Type, before.Status, before.Reason));

        await Cluster.DeleteAsync("bound");
        await SaysAsync($"The drain waits for 1 instance: default/{member.Metadata.Name} (disruption budget of group web: 0 of at most 0 unavailable).");
        Assert.Equal(before.LastTransitionAt, (await ConditionAsync()).LastTransitionAt);

        await _ctl.RunAsync("group", "update", "web", "--max-disrupted", "1", "--no-wait");
        await SaysAsync("Nothing is left on it.");
        await _ctl.RunAsync("group", "delete", "web");

        await _ctl.RunAsync("node", "uncordon", "n1");
        Assert.DoesNotContain("Drain:", await _ctl.RunAsync("node", "get", "n1"), StringComparison.Ordinal);
    }

    private Task SaysAsync(string what) => RealTime.UntilAsync($"node get says '{what}'", TimeSpan.FromSeconds(30), async () =>
        (await _ctl.RunAsync("node", "get", "n1")).Contains(what, StringComparison.Ordinal));

    private async Task<Condition> ConditionAsync() =>
        (await Cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n1" }, deadline: LocalCluster.Deadline(10))).Status.Conditions.Single(condition => condition.Type == "Drained");

    /// <summary>Events are told some moments after what they tell of.</summary>
    private Task ToldAsync(string instance, string what) => RealTime.UntilAsync($"the events tell '{what}'", TimeSpan.FromSeconds(30), async () =>
        (await _ctl.RunAsync("events", "--instance", instance)).Contains(what, StringComparison.Ordinal));

    private LocalMachine Machine(string hostname) => Cluster.Machines.Single(machine => machine.Hostname == hostname);

    private Task<string> CreateAsync(string name, params string[] flags) => _ctl.RunAsync(
    [
        "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600", "--memory", "32", "--stop-signal", "KILL", "--no-wait",
        .. flags.Contains("--cpus") ? flags : ["--cpus", "50m", .. flags],
    ]);
}
