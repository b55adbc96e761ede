using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: after the whole machine went off without a word, server included, what should run runs again, once, at its old
/// address; what was stopped or had ended does not (Durable, Converges, IdempotentOnce, AddressUnique).
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class RebootTests
{
    [Fact]
    public async Task What_should_run_runs_again_after_a_power_cut()
    {
        await using var cluster = await LocalCluster.StartAsync();
        await cluster.ImportBusyboxAsync();
        var web = Instances.Request("web", "busybox", "httpd", "-f", "-p", "80", "-h", "/var/www");
        web.Spec.Network = new NetworkSpec { Ports = { new PublishedPort { HostPort = 9100, InstancePort = 80 } } };
        await cluster.CreateAsync(web);
        await cluster.RunAsync("other", "sleep", "3600");
        await cluster.RunAsync("stopped", "sleep", "3600");
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "stopped" }, deadline: LocalCluster.Deadline(10));
        await cluster.CreateAsync(Instances.Request("ended", "busybox", "true"));
        await cluster.InstanceAsync("stopped", "stops", instance => Instances.Settled(instance, InstanceState.Stopped));
        await cluster.InstanceAsync("ended", "ends", instance => instance.Status.Exit is not null);
        var before = (Web: await cluster.RunningAsync("web"), Other: await cluster.RunningAsync("other"));
        Assert.Equal(2, new Leftovers(cluster).InstanceProcesses().Count);

        await cluster.RebootAsync();

        await cluster.NodeReadyAsync();
        var (webAgain, otherAgain) = (await SinceRebootAsync(before.Web), await SinceRebootAsync(before.Other));
        Assert.Equal(before.Web.Status.IpAddresses, webAgain.Status.IpAddresses);
        Assert.Equal(before.Other.Status.IpAddresses, otherAgain.Status.IpAddresses);
        Assert.Equal(before.Web.Placement.Epoch, webAgain.Placement.Epoch);
        await RealTime.UntilAsync("the server listens", TimeSpan.FromSeconds(20), () => Web.AnswersAsync(cluster.NetworkNamespace, "127.0.0.1", 9100));
        // The web server has a child for each request, until that has ended.
        int[] mains = [cluster.ProcessOf(webAgain), cluster.ProcessOf(otherAgain)];
        await RealTime.UntilAsync("nothing else runs", TimeSpan.FromSeconds(20), () => mains.ToHashSet().SetEquals(new Leftovers(cluster).InstanceProcesses()));
        await cluster.InstanceAsync("stopped", "stays stopped", instance => Instances.Settled(instance, InstanceState.Stopped));
        var ended = await cluster.InstanceAsync("ended", "stays ended", instance => Instances.Settled(instance, InstanceState.Stopped));
        Assert.Equal("Completed", ended.Status.Reason);

        foreach (var name in new[] { "web", "other", "stopped", "ended" })
        {
            await cluster.DeleteAsync(name);
        }

        await cluster.LeavesAsync([], "everything");

        // The store remembers RUNNING from before: only a later start is an answer.
        Task<Instance> SinceRebootAsync(Instance instance) => cluster.InstanceAsync(
            instance.Metadata.Name,
            "runs again",
            again => Instances.Settled(again, InstanceState.Running) && again.Status.StartedAt > instance.Status.StartedAt);
    }
}
