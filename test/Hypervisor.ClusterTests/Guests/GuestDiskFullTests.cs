using Grpc.Core;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: on a node whose disk is full a new guest and a new image are refused with the remedy, a guest whose disk cannot grow stands still
/// and says why without losing what it wrote, goes on by itself once there is room, and deleting works (Durable, Converges, NoOrphans).
/// </summary>
public sealed class GuestDiskFullTests
{
    private const long DiskBytes = 320 << 20;
    private const double Boot = 120;

    [Fact]
    public async Task A_full_disk_refuses_what_is_new_and_halts_what_writes_until_there_is_room()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { Libvirt = true, NodeDiskBytes = DiskBytes });
        await cluster.ImportBusyboxAsync();
        await RealTime.UntilAsync("the node runs microVMs and VMs", LocalCluster.GuestTrials, async () =>
            (await cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5)))
                .Nodes.Any(node => node.Status.Inventory.Runtimes.Count(runtime => runtime is { Type: InstanceType.Microvm or InstanceType.Vm, Available: true }) == 2));
        string[] names = ["writes-microvm", "writes-vm"];
        foreach (var (name, type) in names.Zip([InstanceType.Microvm, InstanceType.Vm]))
        {
            await cluster.CreateAsync(GuestCluster.Request(type, name, "sleep", "3600"));
            await cluster.RunningAsync(name, Boot);
        }

        // In the middle of its way to the node: of this one there is room for the documents, and none for what is in it.
        await cluster.ImportAsync("fresh", OciArchive.Of(OciArchive.Shell()));
        FullNodeDiskTests.FillUp(cluster);
        await cluster.CreateAsync(GuestCluster.Request(InstanceType.Microvm, "new-image", "sh", "-c", "sleep 3600"));
        var fresh = GuestCluster.Request(InstanceType.Vm, "new-content", "sh", "-c", "sleep 3600");
        fresh.Spec.Image = "fresh";
        await cluster.CreateAsync(fresh);
        foreach (var name in new[] { "new-image", "new-content" })
        {
            var failed = await cluster.InstanceAsync(name, "fails", instance => instance.Status.State == InstanceState.Failed, Boot);
            Assert.Equal("DiskFull", failed.Status.Reason);
            Assert.Contains("the node's disk is full", failed.Status.Message, StringComparison.Ordinal);
            await cluster.DeleteAsync(name);
        }

        // Deleting made a little room.
        FullNodeDiskTests.FillUp(cluster);
        var writes = names.Select(name => WriteAsync(cluster, name)).ToList();
        foreach (var name in names)
        {
            var halted = await cluster.InstanceAsync(name, "stands still", instance => instance.Status is { State: InstanceState.Paused, Reason: "DiskFull" }, Boot);
            Assert.Contains("the node's disk is full", halted.Status.Message, StringComparison.Ordinal);
        }

        File.Delete(FullNodeDiskTests.Ballast(cluster));
        foreach (var name in names)
        {
            var goesOn = await cluster.InstanceAsync(name, "goes on", instance => instance.Status is { State: InstanceState.Running, Reason: "" }, Boot);
            Assert.Equal(0, goesOn.Status.Restarts);
        }

        Assert.All(await Task.WhenAll(writes), code => Assert.Equal(0, code));

        FullNodeDiskTests.FillUp(cluster);
        foreach (var name in names)
        {
            await cluster.DeleteAsync(name);
        }

        await cluster.LeavesAsync([$"mount {cluster.NodeFolder}"], "everything");
    }

    /// <summary>Ends when all of it is on the disk and as it was in memory.</summary>
    private static async Task<int> WriteAsync(LocalCluster cluster, string name)
    {
        using var call = cluster.Compute.Exec(deadline: LocalCluster.Deadline(300));
        await call.RequestStream.WriteAsync(new ExecInput
        {
            Instance = name,
            Command = { "sh", "-c", "head -c 24000000 /dev/urandom > /dev/shm/big && cp /dev/shm/big /big && sync && cmp /big /dev/shm/big" },
        });
        var code = -1;
        await foreach (var message in call.ResponseStream.ReadAllAsync(TestContext.Current.CancellationToken))
        {
            code = message.Exit?.Code ?? code;
        }

        return code;
    }
}
