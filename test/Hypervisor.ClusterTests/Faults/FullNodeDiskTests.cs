using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Faults;

/// <summary>
/// Protects: on a node whose disk is really full an instance fails with a reason that names the remedy, what runs goes on, deleting
/// works and leaves nothing, and once there is room everything goes on without a restart (Durable, NoOrphans, Converges).
/// </summary>
public sealed class FullNodeDiskTests
{
    private const long DiskBytes = 64 << 20;

    [Fact]
    public async Task A_full_disk_fails_what_is_new_keeps_what_is_old_and_lets_go()
    {
        await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { NodeDiskBytes = DiskBytes });
        await cluster.ImportBusyboxAsync();
        var kept = await cluster.RunAsync("kept", "sleep", "3600");
        await cluster.RunAsync("unwanted", "sleep", "3600");
        await cluster.ImportAsync("fresh", OciArchive.Of(OciArchive.Shell()));
        var baseline = await new Leftovers(cluster).ListAsync();

        FillUp(cluster);
        await cluster.CreateAsync(Instances.Request("known-image", "busybox", "sleep", "3600"));
        await cluster.CreateAsync(Instances.Request("new-image", "fresh", "sleep", "3600"));
        foreach (var name in new[] { "known-image", "new-image" })
        {
            var failed = await cluster.InstanceAsync(name, "fails", instance => instance.Status.State == InstanceState.Failed);
            Assert.Equal("DiskFull", failed.Status.Reason);
            Assert.Contains("the node's disk is full", failed.Status.Message, StringComparison.Ordinal);
        }

        await cluster.DeleteAsync("known-image");
        await cluster.DeleteAsync("new-image");
        await cluster.LeavesAsync(baseline, "what failed");
        FillUp(cluster);
        await cluster.DeleteAsync("unwanted");
        Assert.Equal([cluster.ProcessOf(kept)], new Leftovers(cluster).InstanceProcesses());

        // Deleting made a little room.
        FillUp(cluster);
        await cluster.CreateAsync(Instances.Request("patient", "fresh", "sleep", "3600"));
        await cluster.InstanceAsync("patient", "fails", instance => instance.Status is { State: InstanceState.Failed, Reason: "DiskFull" });
        File.Delete(Ballast(cluster));
        await cluster.RunAsync("after", "sleep", "3600");

        // By itself, at its next attempt: 30 s at most.
        await cluster.RunningAsync("patient", seconds: 40);
        foreach (var name in new[] { "after", "patient", "kept" })
        {
            await cluster.DeleteAsync(name);
        }

        // The disk itself is the cluster's.
        await cluster.LeavesAsync([$"mount {cluster.NodeFolder}"], "everything");
    }

    internal static string Ballast(LocalCluster cluster) => $"{cluster.NodeFolder}/ballast";

    /// <summary>Until not even one block is left.</summary>
    internal static void FillUp(LocalCluster cluster)
    {
        foreach (var size in new[] { 1 << 20, 1 << 12 })
        {
            var chunk = new byte[size];
            try
            {
                while (true)
                {
                    using var file = new FileStream(Ballast(cluster), FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);
                    file.Write(chunk);
                }
            }
            catch (IOException)
            {
            }
        }
    }
}
