using Hypervisor.ClusterTests.Faults;
using Hypervisor.ClusterTests.Guests;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Firecracker;

/// <summary>
/// Protects: a node with Firecracker runs microVMs through it, from the API to a guest that serves, survives what one of QEMU survives, and leaves
/// nothing. With the stand-in, and with the real program where there is one that works.
/// </summary>
public sealed class FirecrackerClusterTests
{
    [Theory]
    [MemberData(nameof(FirecrackerHost.Programs), MemberType = typeof(FirecrackerHost))]
    public async Task A_microVM_runs_answers_survives_and_disappears(string program)
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions
        {
            // The stand-in emulates, and answers for what has KVM only.
            AgentYaml = $"accelerator: kvm\nmicrovm:\n  driver: firecracker\nfirecracker:\n  binary: {program}",
        });
        await cluster.ImportBusyboxAsync();
        await RealTime.UntilAsync("the node runs microVMs", LocalCluster.GuestTrials, async () =>
            (await cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
                .Nodes.Any(node => node.Status.Inventory.Runtimes.Any(runtime => runtime is { Type: InstanceType.Microvm, Driver: "firecracker", Available: true })));

        await cluster.Compute.CreateInstanceAsync(
            GuestCluster.Request(InstanceType.Microvm, "web", "httpd", "-f", "-p", "80", "-h", "/var/www"), deadline: LocalCluster.Deadline(10));
        var running = await cluster.InstanceAsync("web", "runs", instance => instance.Status.State == InstanceState.Running, seconds: 60);
        Assert.Equal(("firecracker", "kvm"), (running.Status.Driver, running.Status.Accelerator));
        await ServesAsync(cluster, running);
        Assert.Equal((5, "web\n"), await cluster.ExecAsync("web", "sh", "-c", "hostname; exit 5"));

        // An agent that is started again finds it as it is.
        var machine = Assert.Single(new Leftovers(cluster).Machines());
        await cluster.Agent.KillAsync();
        cluster.Agent.Start();
        await RealTime.UntilAsync("the agent answers for it", TimeSpan.FromSeconds(30), async () => await cluster.ExecAsync("web", "true") is (0, _));
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));

        // One whose VMM is killed vanished, and is started again.
        Linux.Signal(machine, Linux.SignalKill);
        var again = await cluster.InstanceAsync(
            "web", "runs again", instance => instance.Status.State == InstanceState.Running && instance.Status.StartedAt != running.Status.StartedAt, seconds: 60);
        Assert.NotEqual(machine, Assert.Single(new Leftovers(cluster).Machines()));
        await ServesAsync(cluster, again);

        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "web" }, deadline: LocalCluster.Deadline(10));
        var stopped = await cluster.InstanceAsync("web", "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null);
        Assert.Equal((143, 15), (stopped.Status.Exit.Code, stopped.Status.Exit.Signal));
        Assert.Empty(new Leftovers(cluster).Machines());
        await cluster.DeleteAsync("web");
        await cluster.LeavesAsync([], "web");
    }

    private static Task ServesAsync(LocalCluster cluster, Instance instance) => RealTime.UntilAsync(
        "it serves", TimeSpan.FromSeconds(30), () => Web.AnswersAsync(cluster.NetworkNamespace, instance.Status.IpAddresses.Single(), 80));
}
