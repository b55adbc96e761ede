using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

public sealed partial class MicrovmTests
{
    private const string Counts = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.1; done";

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task It_is_suspended_goes_back_to_a_snapshot_with_its_memory_and_is_cloned(InstanceType type)
    {
        await CreateAsync(type, "saved", "sh", "-c", Counts);
        var first = await RunsAsync("saved", instance => true);
        await WriteAsync("saved", "then");

        // Nothing of it runs while it is suspended, and it goes on in the same run.
        await Cluster.Compute.SuspendInstanceAsync(new SuspendInstanceRequest { Instance = "saved" }, deadline: LocalCluster.Deadline(10));
        await Cluster.InstanceAsync("saved", "is suspended", instance => instance.Status.State == InstanceState.Suspended, seconds: 60);
        Assert.Empty(new Leftovers(Cluster).Machines());
        await Cluster.Compute.ResumeInstanceAsync(new ResumeInstanceRequest { Instance = "saved" }, deadline: LocalCluster.Deadline(10));
        var resumed = await RunsAsync("saved", instance => instance.Status.ObservedGeneration == instance.Metadata.Generation);
        Assert.Equal(first.Status.StartedAt, resumed.Status.StartedAt);
        Assert.Equal("then", await ReadAsync("saved"));

        // Far enough that a machine that began anew would not have come as far.
        var (counted, restoredCount) = (0, 0);
        await RealTime.UntilAsync("it counts", TimeSpan.FromSeconds(60), async () => (counted = await CountAsync()) > 30);

        // A snapshot with its memory, for which the agent is killed at a moment that nobody chose.
        await Cluster.Compute.CreateSnapshotAsync(new CreateSnapshotRequest { Instance = "saved", Name = "s1", Memory = true }, deadline: LocalCluster.Deadline(10));
        await Cluster.Agent.KillAsync();
        Cluster.Agent.Start();
        await RunsAsync("saved", instance => instance.Status.Snapshots.Any(snapshot => snapshot is { State: SnapshotState.Ready, Memory: true, SizeBytes: > 0 }));
        await WriteAsync("saved", "now");

        await Cluster.Compute.RestoreSnapshotAsync(new RestoreSnapshotRequest { Instance = "saved", Snapshot = "s1" }, deadline: LocalCluster.Deadline(10));
        var restored = await RunsAsync("saved", instance => instance.Status.ObservedRestoreGeneration == 1
            && instance.Status.Conditions.Any(condition => condition is { Type: "Restored", Status: ConditionStatus.True }));
        Assert.Equal(first.Status.StartedAt, restored.Status.StartedAt);
        Assert.Equal("then", await ReadAsync("saved"));
        await RealTime.UntilAsync("it counts on", TimeSpan.FromSeconds(60), async () => (restoredCount = await CountAsync()) > 0);
        Assert.InRange(restoredCount, counted, int.MaxValue);

        // Its disks alone, with what nobody has synced: the guest was asked to hold all writing, and wrote that first.
        Assert.Equal(0, (await ExecAsync("saved", "sh", "-c", "echo held > /kept")).Code);
        await Cluster.Compute.CreateSnapshotAsync(new CreateSnapshotRequest { Instance = "saved", Name = "s2" }, deadline: LocalCluster.Deadline(10));
        await RunsAsync("saved", instance => instance.Status.Snapshots.Any(snapshot => snapshot is { State: SnapshotState.Ready, Memory: false, Quiesced: true }));
        await WriteAsync("saved", "now");

        // A clone has the disk as it was and boots as somebody else.
        await Cluster.Compute.CloneInstanceAsync(new CloneInstanceRequest { Instance = "saved", Snapshot = "s2", Name = "copy" }, deadline: LocalCluster.Deadline(10));
        var copy = await RunsAsync("copy", instance => true);
        Assert.Equal(("held", (0, "copy\n")), (await ReadAsync("copy"), await ExecAsync("copy", "hostname")));
        Assert.NotEqual(restored.Status.IpAddresses, copy.Status.IpAddresses);
        Assert.Equal("now", await ReadAsync("saved"));

        foreach (var snapshot in new[] { "s1", "s2" })
        {
            await Cluster.Compute.DeleteSnapshotAsync(new DeleteSnapshotRequest { Instance = "saved", Snapshot = snapshot }, deadline: LocalCluster.Deadline(10));
        }

        await RunsAsync("saved", instance => instance.Status.Snapshots.Count == 0 && instance.Status.ObservedGeneration == instance.Metadata.Generation);
        await DeleteAsync("copy");
        await DeleteAsync("saved");
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    /// <summary>Protects: who makes room for others and has its disk here loses neither disk nor memory, and runs beside nobody whom it made room for.</summary>
    [Fact]
    public async Task A_vm_makes_room_suspended_and_goes_on_where_it_was()
    {
        var node = await Cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n1" }, deadline: LocalCluster.Deadline(10));
        await CreateAsync(InstanceType.Vm, "saved", "sh", "-c", Counts);
        var first = await RunsAsync("saved", instance => true);
        var counted = 0;
        await RealTime.UntilAsync("it counts", TimeSpan.FromSeconds(60), async () => (counted = await CountAsync()) > 30);

        await Cluster.Compute.CreateInstanceAsync(
            new CreateInstanceRequest
            {
                Name = "urgent",
                Spec = new InstanceSpec
                {
                    Type = InstanceType.Container,
                    Image = "busybox",
                    Resources = new Resources { CpuMillicores = node.Status.Allocatable.CpuMillicores - 500, MemoryBytes = 32 << 20 },
                    Process = new ProcessSpec { Command = { "sleep", "3600" } },
                    Stop = new StopSpec { Signal = "KILL" },
                    Constraints = new PlacementConstraints { Priority = 100 },
                },
            },
            deadline: LocalCluster.Deadline(10));
        await RunsAsync("urgent", instance => true);
        var parked = await Cluster.InstanceAsync("saved", "is suspended", instance => instance.Status is { State: InstanceState.Suspended, Reason: "Preempted" });
        Assert.Equal((first.Placement.NodeUid, first.Placement.Epoch), (parked.Placement.NodeUid, parked.Placement.Epoch));
        Assert.Empty(new Leftovers(Cluster).Machines());

        await DeleteAsync("urgent");
        var back = await RunsAsync("saved", instance => instance.Placement.Eviction is null);
        Assert.Equal((first.Status.StartedAt, first.Placement.Epoch), (back.Status.StartedAt, back.Placement.Epoch));
        await RealTime.UntilAsync("it counts on", TimeSpan.FromSeconds(60), async () => await CountAsync() > counted);
        await DeleteAsync("saved");
        Assert.Empty(await new Leftovers(Cluster).ListAsync());
    }

    /// <summary>0 while the file is being written.</summary>
    private async Task<int> CountAsync() =>
        int.TryParse(await ReadAsync("saved", "/count"), System.Globalization.CultureInfo.InvariantCulture, out var count) ? count : 0;

    private async Task WriteAsync(string name, string content) =>
        Assert.Equal(0, (await ExecAsync(name, "sh", "-c", $"echo {content} > /kept; sync")).Code);

    private async Task<string> ReadAsync(string name, string path = "/kept") => (await ExecAsync(name, "cat", path)).Output.Trim();
}
