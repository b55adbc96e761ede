using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>A record writer with its store, both on one file system, before its first record.</summary>
internal sealed class WriterScene : IAsyncDisposable
{
    private readonly EtcdCluster? _etcd;
    private readonly RealProcess _writer;

    private WriterScene(string folder, EtcdCluster? etcd, RealProcess writer) => (Folder, _etcd, _writer) = (folder, etcd, writer);

    public string Folder { get; }

    private string EtcdFolder => $"{Folder}/etcd/etcd-1";

    /// <summary>Whose syncs make records durable.</summary>
    public int StoreProcess => (_etcd?.Members[0] ?? _writer).Id;

    public IReadOnlyList<int> Processes => _etcd is null ? [_writer.Id] : [_writer.Id, _etcd.Members[0].Id];

    public bool WriterRuns => _writer.IsRunning;

    public static async Task<WriterScene> StartAsync(bool onEtcd, int writers, int records, int bytes, bool acknowledgesEarly)
    {
        var folder = Directory.CreateTempSubdirectory("hvt-durable-").FullName;
        var etcd = onEtcd ? await EtcdCluster.StartAsync(new EtcdOptions { Folder = $"{folder}/etcd" }) : null;
        var writer = RecordWriter.Process(folder, etcd?.Endpoints[0], writers, records, bytes, acknowledgesEarly);
        var scene = new WriterScene(folder, etcd, writer);
        try
        {
            scene._writer.Start();
            await RealTime.UntilAsync("the writer is ready", TimeSpan.FromSeconds(60), () => scene._writer.IsRunning
                ? File.Exists(RecordWriter.AcknowledgementsFile(folder))
                : throw new InvalidOperationException($"The writer ended: {scene._writer.Log}"));
            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    public bool IsStore(string file) => _etcd is null
        ? file.StartsWith(RecordWriter.DatabaseFile(Folder), StringComparison.Ordinal)
        : file.StartsWith($"{EtcdFolder}/", StringComparison.Ordinal);

    /// <summary>
    /// What there is of the store on the disk, to be copied. Not what the embedded store's connections share in memory, which is
    /// a file too but never synced: it is made anew.
    /// </summary>
    public IReadOnlyList<string> StoreFiles() => _etcd is null
        ? [.. Directory.GetFiles(Folder, "store.db*").Where(file => !file.EndsWith("-shm", StringComparison.Ordinal))]
        : [EtcdFolder];

    public Task GoAsync() => File.WriteAllTextAsync(RecordWriter.GoFile(Folder), "");

    /// <summary>All records are written.</summary>
    public async Task EndedAsync()
    {
        await RealTime.UntilAsync("the writer ends", TimeSpan.FromSeconds(60), () => !_writer.IsRunning);
        Xunit.Assert.Equal("", _writer.Log);
    }

    /// <summary>Nothing of the store runs any more.</summary>
    public async Task KillAsync()
    {
        await _writer.KillAsync();
        if (_etcd is not null)
        {
            await _etcd.Members[0].KillAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _writer.DisposeAsync();
        if (_etcd is not null)
        {
            await _etcd.DisposeAsync();
        }

        Directory.Delete(Folder, recursive: true);
    }
}
