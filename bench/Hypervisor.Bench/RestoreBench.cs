using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// What a memory snapshot saves of a boot, through the API: from the call to restore one until a watcher sees the guest running again, against
/// the call to create until it sees it running; and from the call to create until the first bytes that the entry point writes, warm against
/// cold. One of each in turn.
/// </summary>
internal static class RestoreBench
{
    private const int Rounds = 9;
    private const int Warmups = 1;
    private const string Kept = "kept";
    private const string Snapshot = "s1";

    /// <summary>What a guest of that size and its VMM take, and some more.</summary>
    private const long Touched = 320L << 20;

    private static readonly Resources _size = new() { CpuMillicores = 1000, MemoryBytes = 192 << 20 };

    public static async Task RunAsync()
    {
        await using var cluster = await LocalCluster.StartAsync();
        await cluster.ImportBusyboxAsync();
        var guests = new BenchGuests(cluster);
        await guests.AvailableAsync(InstanceType.Microvm);
        await using var watcher = await InstanceWatcher.StartAsync(cluster);
        await KeepAsync(cluster, guests, watcher);

        // The first warm guest makes what the others begin with.
        await guests.FirstByteAsync("template", _size, warm: true);
        await guests.DeleteAsync("template");

        List<double> cold = [], coldByte = [], restored = [], warmByte = [];
        for (var round = 0; round < Rounds + Warmups; round++)
        {
            BackedMemory.Touch(Touched);
            var runs = Metric.TimeAsync(() => watcher.RunsAsync($"cold-{round}"));
            var first = await guests.FirstByteAsync($"cold-{round}", _size, warm: false);
            var running = await runs;
            await guests.DeleteAsync($"cold-{round}");
            BackedMemory.Touch(Touched);
            var back = await Metric.TimeAsync(() => RestoreAsync(cluster, watcher, round + 1));
            BackedMemory.Touch(Touched);
            var warm = await guests.FirstByteAsync($"warm-{round}", _size, warm: true);
            await guests.DeleteAsync($"warm-{round}");
            if (round >= Warmups)
            {
                cold.Add(running);
                coldByte.Add(first);
                restored.Add(back);
                warmByte.Add(warm);
            }
        }

        Metric.Print("restore.cold_ms", Metric.Median(cold), "ms");
        Metric.Print("restore.restored_ms", Metric.Median(restored), "ms");
        Metric.Print("restore.ratio_cold", Metric.Median(restored) / Metric.Median(cold), "ratio");
        Metric.Print("warm.cold_first_byte_ms", Metric.Median(coldByte), "ms");
        Metric.Print("warm.first_byte_ms", Metric.Median(warmByte), "ms");
        Metric.Print("warm.ratio_cold", Metric.Median(warmByte) / Metric.Median(coldByte), "ratio");
    }

    /// <summary>A running guest with a snapshot of its memory.</summary>
    private static async Task KeepAsync(LocalCluster cluster, BenchGuests guests, InstanceWatcher watcher)
    {
        await guests.FirstLineAsync(InstanceType.Microvm, Kept, _size);
        var ready = watcher.IsAsync(Kept, instance => instance.Status.Snapshots.Any(snapshot => snapshot.State == SnapshotState.Ready));
        await cluster.Compute.CreateSnapshotAsync(
            new CreateSnapshotRequest { Instance = Kept, Name = Snapshot, Memory = true }, deadline: LocalCluster.Deadline(10));
        await ready;
    }

    private static async Task RestoreAsync(LocalCluster cluster, InstanceWatcher watcher, int count)
    {
        var runs = watcher.IsAsync(
            Kept, instance => instance.Status.State == InstanceState.Running && instance.Status.ObservedRestoreGeneration == count);
        await cluster.Compute.RestoreSnapshotAsync(
            new RestoreSnapshotRequest { Instance = Kept, Snapshot = Snapshot }, deadline: LocalCluster.Deadline(10));
        await runs;
    }
}
