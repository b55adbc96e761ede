using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Sqlite;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Traces;
using Xunit;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// Protects: what a power cut leaves of the store's files holds every acknowledged record (Durable). The store's process is
/// stopped whenever a sync has returned; its files are copied there, and each copy is opened by the store itself.
/// </summary>
public sealed class CopyAtSyncTests
{
    private const int Writers = 256;

    // More than the 16 MiB at which the embedded store copies its log into its file.
    private const int Records = 4608;
    private const int RecordBytes = 3600;

    private const int EtcdRecords = 2560;

    // An early acknowledgement shows at once.
    private const int PlantedRecords = 2048;
    private const int EtcdRecordBytes = 512;

    [Theory(Timeout = 180_000)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Copies_at_syncs_of_the_embedded_store_hold_what_was_acknowledged(bool planted)
    {
        await using var scene = await WriterScene.StartAsync(false, Writers, planted ? PlantedRecords : Records, RecordBytes, planted);

        // Every third, and all around a checkpoint, which are the syncs of another file than the log.
        var (copies, syncs) = await CopyAsync(scene, (sync, file) => sync % 3 == 0 || !file.EndsWith("-wal", StringComparison.Ordinal));
        List<string> lost = [];
        foreach (var copy in copies)
        {
            await using var store = await SqliteStore.OpenAsync($"{Copy(scene, copy)}/store.db", RealTime.Clock);
            lost.AddRange(new[] { copy.Lost(await RecordWriter.HeldAsync(store)) }.OfType<string>());
        }

        Assert.True(planted || syncs.Any(file => file.EndsWith("store.db", StringComparison.Ordinal)), "no checkpoint was among the syncs");
        Judge(planted, copies, lost);
    }

    [Theory(Timeout = 180_000)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Copies_at_syncs_of_etcd_hold_what_was_acknowledged(bool planted)
    {
        var records = planted ? PlantedRecords : EtcdRecords;
        await using var scene = await WriterScene.StartAsync(true, Writers, records, EtcdRecordBytes, planted);
        var (copies, _) = await CopyAsync(scene, (sync, _) => sync % 3 == 0);
        await scene.KillAsync();

        // Each start of etcd takes a second: a few are chosen, others in each run.
        var seed = Environment.ProcessId;
        var chosen = copies.OrderBy(copy => HashCode.Combine(seed, copy.Sync)).Take(5).ToList();
        List<string> lost = [];
        foreach (var copy in chosen)
        {
            await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Folder = Copy(scene, copy) });
            await using var store = await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock);
            lost.AddRange(new[] { copy.Lost(await RecordWriter.HeldAsync(store)) }.OfType<string>());
        }

        Judge(planted, chosen, lost);
    }

    private static void Judge(bool planted, IReadOnlyList<CopiedAtSync> copies, IReadOnlyList<string> lost)
    {
        Assert.True(copies.Count >= 4, $"{copies.Count} copies");
        Assert.Contains(copies, copy => copy.Owed.Count > 0);
        if (planted)
        {
            Assert.NotEmpty(lost);
        }
        else
        {
            Assert.Empty(lost);
        }
    }

    private static string Copy(WriterScene scene, CopiedAtSync copy) => Copy(scene, copy.Sync);

    private static string Copy(WriterScene scene, int sync) => $"{scene.Folder}/copies/{sync}";

    /// <summary>Stops the store at each sync, copies some, and answers the copies and the files of all syncs.</summary>
    private static async Task<(IReadOnlyList<CopiedAtSync> Copies, IReadOnlyList<string> Syncs)> CopyAsync(
        WriterScene scene, Func<int, string, bool> isCopied)
    {
        List<CopiedAtSync> copies = [];
        await using var tracer = await Tracer.AttachAsync(
            scene.Folder, "trace=fdatasync,fsync inject=fdatasync,fsync:signal=SIGSTOP", scene.StoreProcess);
        var stops = new SyncStops(tracer, scene.StoreProcess);
        await scene.GoAsync();
        int? copied = null;
        while (await stops.NextAsync(() => scene.WriterRuns))
        {
            if (copied is { } sync)
            {
                copies.Add(new CopiedAtSync(sync, RecordWriter.Acknowledged(scene.Folder)));
                copied = null;
            }

            if (isCopied(stops.Files.Count, stops.Files[^1]))
            {
                copied = stops.Files.Count;
                await CopyFilesAsync(scene, stops.Files.Count);
            }

            stops.Continue();
        }

        await scene.EndedAsync();
        return (copies, stops.Files);
    }

    /// <summary>With holes for what was only reserved: a log of etcd's takes 64 MB.</summary>
    private static async Task CopyFilesAsync(WriterScene scene, int sync)
    {
        var target = Copy(scene, sync);
        Directory.CreateDirectory(target);
        await Shell.RunAsync("cp", ["-a", "--sparse=always", .. scene.StoreFiles(), target]);
    }
}
