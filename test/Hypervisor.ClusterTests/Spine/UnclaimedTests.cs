using Grpc.Core;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>
/// Protects: a control plane that lost its memory destroys nothing (NoGhostKill); what runs is taken in again as it runs, or
/// purged by a person's word, and then nothing of it is left (NoOrphans).
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class UnclaimedTests
{
    [Fact]
    public async Task After_the_store_is_lost_one_instance_is_adopted_with_its_process_and_another_is_purged()
    {
        await using var cluster = await LocalCluster.StartAsync();
        await cluster.ImportBusyboxAsync();
        await CreateAsync(cluster, "kept");
        await CreateAsync(cluster, "dropped");
        var kept = await cluster.InstanceAsync("kept", "runs", instance => instance.Status.State == InstanceState.Running);
        await cluster.InstanceAsync("dropped", "runs", instance => instance.Status.State == InstanceState.Running);
        var processes = new Leftovers(cluster).InstanceProcesses().Order().ToList();
        Assert.Equal(2, processes.Count);

        await cluster.LoseStoreAsync();
        await cluster.NodeReadyAsync();
        await UnclaimedAsync(cluster, 2);
        Assert.Equal(processes, new Leftovers(cluster).InstanceProcesses().Order());
        Assert.Empty((await cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(5))).Instances);

        var request = new AdoptInstanceRequest { Node = "n1", Instance = "kept", RequestId = "adopt-1" };
        var adopted = await cluster.Nodes.AdoptInstanceAsync(request, deadline: LocalCluster.Deadline(10));
        Assert.True(adopted.Placement.Epoch > kept.Placement.Epoch);
        var running = await cluster.InstanceAsync("kept", "runs as the cluster's", instance =>
            instance.Status.State == InstanceState.Running && instance.Status.ObservedEpoch == instance.Placement.Epoch
            && instance.Status.IpAddresses.Count > 0);
        Assert.Equal(kept.Metadata.Uid, running.Metadata.Uid);
        Assert.Equal(kept.Status.IpAddresses, running.Status.IpAddresses);
        Assert.Equal(processes, new Leftovers(cluster).InstanceProcesses().Order());
        Assert.Equal(adopted.Metadata.Uid, (await cluster.Nodes.AdoptInstanceAsync(request, deadline: LocalCluster.Deadline(10))).Metadata.Uid);

        var known = await Assert.ThrowsAsync<RpcException>(async () =>
            await cluster.Nodes.PurgeInstanceAsync(new PurgeInstanceRequest { Node = "n1", Instance = kept.Metadata.Uid }, deadline: LocalCluster.Deadline(10)));
        Assert.Contains(known.StatusCode, new[] { StatusCode.FailedPrecondition, StatusCode.NotFound });

        await cluster.Nodes.PurgeInstanceAsync(new PurgeInstanceRequest { Node = "n1", Instance = "dropped" }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync("the purged one's process is gone", TimeSpan.FromSeconds(30), () => new Leftovers(cluster).InstanceProcesses().Count == 1);
        await UnclaimedAsync(cluster, 0);

        // An agent that begins anew finds the instance under the epoch that it was given.
        await cluster.Agent.KillAsync();
        cluster.Agent.Start();
        await cluster.InstanceAsync("kept", "still runs", instance => instance.Status.State == InstanceState.Running);
        Assert.Contains(Assert.Single(new Leftovers(cluster).InstanceProcesses()), processes);

        await cluster.Compute.DeleteInstanceAsync(new DeleteInstanceRequest { Instance = "kept" }, deadline: LocalCluster.Deadline(10));
        await RealTime.UntilAsync("nothing is left", TimeSpan.FromSeconds(30), async () => (await new Leftovers(cluster).ListAsync()).Count == 0);
    }

    private static Task UnclaimedAsync(LocalCluster cluster, int count) =>
        RealTime.UntilAsync($"{count} instances are unclaimed", TimeSpan.FromSeconds(60), async () =>
        {
            var node = await cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n1" }, deadline: LocalCluster.Deadline(5));
            return node.Status.Unclaimed.Count == count && node.Status.Unclaimed.All(instance => instance.Adoptable);
        });

    private static async Task CreateAsync(LocalCluster cluster, string name) => await cluster.Compute.CreateInstanceAsync(
        new CreateInstanceRequest
        {
            Name = name,
            Spec = new InstanceSpec
            {
                Type = InstanceType.Container,
                Image = "busybox",
                Resources = new Resources { CpuMillicores = 100, MemoryBytes = 32 << 20 },
                Process = new ProcessSpec { Command = { "sleep", "3600" } },
                Stop = new StopSpec { GracePeriod = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(TimeSpan.FromMilliseconds(200)) },
            },
        },
        deadline: LocalCluster.Deadline(10));
}
