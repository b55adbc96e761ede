using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>Protects: what an agent's configuration says that its machine has is given to one instance at a time, and who waits for it is told so.</summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class DevicesTests : IAsyncLifetime
{
    private LocalCluster _cluster = null!;
    private CommandLine _ctl = null!;

    public async ValueTask InitializeAsync()
    {
        // No guest runs here: neither machine need find out how it would.
        _cluster = await LocalCluster.StartAsync(new LocalClusterOptions
        {
            AgentYaml = "accelerator: none",
            OtherNodes = [new OtherNode("n2", "accelerator: none\ndevices: {gpu: 1}")],
        });
        _ctl = new(_cluster);
        await _cluster.ImportBusyboxAsync();
    }

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact(Timeout = 180_000)]
    public async Task The_one_that_there_is_goes_to_the_first_and_the_second_waits_until_it_is_free()
    {
        await CreateAsync("first", "--device", "gpu=1", "--preferred-node", "n1");
        var first = await _cluster.RunningAsync("first");
        Assert.Equal("n2", first.Placement.Node);
        var machine = _cluster.Machines.Single(machine => machine.Hostname == "n2");
        Assert.True(machine.ProcessOf(first) > 0);
        Assert.Matches(new Regex("(?m)^Devices: +gpu 1/1$"), await _ctl.RunAsync("node", "get", "n2"));

        // Who asks for none is not kept away from the other node by it.
        await CreateAsync("plain");
        Assert.Equal("n1", (await _cluster.RunningAsync("plain")).Placement.Node);

        await CreateAsync("second", "--device", "gpu=1");
        await _cluster.InstanceAsync("second", "is refused", instance => instance is
        {
            Status.State: InstanceState.Pending, Placement: { Node: "", Reason: "InsufficientResources" },
        });
        var why = await _ctl.RunAsync("instance", "why", "second");
        Assert.Contains("2 nodes: 1 has no gpu, 1 has 0 gpu free of the 1 asked for", why, StringComparison.Ordinal);
        Assert.Matches(new Regex("(?m)^Devices +2 +.*n2 has 0 gpu free of the 1 asked for"), why);

        await _cluster.DeleteAsync("first");
        Assert.Equal("n2", (await _cluster.RunningAsync("second")).Placement.Node);
    }

    private Task<string> CreateAsync(string name, params string[] flags) => _ctl.RunAsync(
    [
        "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600",
        "--cpus", "50m", "--memory", "32", "--stop-signal", "KILL", "--no-wait", .. flags,
    ]);
}
