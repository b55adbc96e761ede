using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>Protects: on three real nodes: what is moved for the sake of balance runs once, elsewhere, and what may not be moved is not touched.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class RebalanceTests(ThreeZones zones) : IClassFixture<ThreeZones>, IAsyncLifetime
{
    private readonly CommandLine _ctl = new(zones.Cluster);

    private LocalCluster Cluster => zones.Cluster;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync() => await zones.ClearAsync();

    [Fact]
    public async Task Instances_that_allow_it_move_to_a_node_that_was_closed_and_the_others_stay()
    {
        await _ctl.RunAsync("node", "cordon", "n1", "n2");
        foreach (var name in new[] { "one", "two" })
        {
            await CreateAsync(name, "--rebalance", "allow");
        }

        await CreateAsync("stays");
        var before = await Task.WhenAll(new[] { "one", "two", "stays" }.Select(name => Cluster.RunningAsync(name)));
        Assert.All(before, instance => Assert.Equal("n3", instance.Placement.Node));
        var machine = Cluster.Machines.Single(machine => machine.Hostname == "n3");
        var process = machine.ProcessOf(before[2]);
        await _ctl.RunAsync("node", "uncordon", "n1", "n2");

        var shown = await _ctl.RunAsync("cluster", "rebalance", "--dry-run", "--objective", "spread", "--min-gain", "0.001");
        Assert.Contains("default/one", shown, StringComparison.Ordinal);
        Assert.Contains("Not moved, 1: They do not allow it", shown, StringComparison.Ordinal);
        Assert.All(before, instance => Assert.True(Directory.Exists(CgroupOf(machine, instance)), "a dry run touches nothing"));

        await _ctl.RunAsync("cluster", "rebalance", "--apply", "--objective", "spread", "--min-gain", "0.001");
        foreach (var instance in before[..2])
        {
            var moved = await Cluster.InstanceAsync(
                instance.Metadata.Name, "runs elsewhere", now => now.Status.State == InstanceState.Running && now.Placement.Node is not ("" or "n3"));
            Assert.True(moved.Placement.Epoch > instance.Placement.Epoch);
            Assert.False(Directory.Exists(CgroupOf(machine, instance)), "nothing of it is left");
        }

        Assert.Equal(process, machine.ProcessOf(before[2]));
        await RealTime.UntilAsync("the events tell of it", TimeSpan.FromSeconds(30), async () =>
            (await _ctl.RunAsync("events", "--instance", "one")).Contains("Rebalanced", StringComparison.Ordinal));
    }

    private static string CgroupOf(LocalMachine machine, Instance instance) => $"/sys/fs/cgroup/pids{machine.CgroupParent}/{instance.Metadata.Uid}";

    private Task<string> CreateAsync(string name, params string[] flags) => _ctl.RunAsync(
    [
        "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600",
        "--cpus", "50m", "--memory", "32", "--stop-signal", "KILL", "--no-wait", .. flags,
    ]);
}
