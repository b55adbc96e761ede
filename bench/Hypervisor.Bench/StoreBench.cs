using System.Diagnostics;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Sqlite;
using Hypervisor.TestCluster;

namespace Hypervisor.Bench;

/// <summary>
/// Records made durable per second by 1,000 concurrent writers, each with one record in flight, through the writer that the
/// server uses; and one commit of the embedded store against one put of etcd, in turn. Both stores on the same file system.
/// </summary>
internal static class StoreBench
{
    private const int Writers = 1000;
    private const int RecordBytes = 512;
    private const int Rounds = 5;
    private const int Pairs = 500;
    private const int Warmups = 50;

    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan _round = TimeSpan.FromSeconds(3);

    public static async Task RunAsync()
    {
        var folder = $"/tmp/hvt-{Environment.ProcessId:x}-store";
        Directory.CreateDirectory(folder);
        try
        {
            await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Folder = $"{folder}/etcd" });
            await using var embedded = await SqliteStore.OpenAsync($"{folder}/store.db", RealTime.Clock);
            await using var cluster = await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = etcd.Endpoints }, RealTime.Clock);
            await RatesAsync(embedded, cluster);
            await RatioAsync(embedded, etcd.Endpoints[0]);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task RatesAsync(SqliteStore embedded, EtcdStore cluster)
    {
        Dictionary<IClusterStore, List<double>> rates = new() { [embedded] = [], [cluster] = [] };
        foreach (var store in rates.Keys)
        {
            await RateAsync(store, _warmUp);
        }

        for (var round = 0; round < Rounds; round++)
        {
            foreach (var (store, measured) in rates)
            {
                measured.Add(await RateAsync(store, _round));
            }
        }

        foreach (var (store, measured) in rates)
        {
            Metric.Print($"store.{store.Kind}.records_per_s", Metric.Median(measured), "1/s");
        }
    }

    /// <summary>Only records whose write was answered within the time count.</summary>
    private static async Task<double> RateAsync(IClusterStore store, TimeSpan duration)
    {
        await using var writer = new StoreWriter(store);
        var value = new byte[RecordBytes];
        var end = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        var counts = await Task.WhenAll(Enumerable.Range(0, Writers).Select(index => WriteAsync(writer, $"bench/{index}", value, end)));
        return counts.Sum() / duration.TotalSeconds;
    }

    private static async Task<long> WriteAsync(StoreWriter writer, string key, byte[] value, long end)
    {
        // The compare is what every write of the server carries.
        long revision = 0;
        var first = await writer.WriteAsync(new StoreWrite([], [new StoreOperation.Put(key, value)]), CancellationToken.None);
        for (var (count, result) = (0L, first); ; count++)
        {
            revision = result.Succeeded ? result.Revision : throw new InvalidOperationException($"{key} was written by somebody else");
            if (Stopwatch.GetTimestamp() >= end)
            {
                return count;
            }

            result = await writer.WriteAsync(
                new StoreWrite([Compare.Modified(key, revision)], [new StoreOperation.Put(key, value)]), CancellationToken.None);
        }
    }

    private static async Task RatioAsync(SqliteStore embedded, Uri endpoint)
    {
        await using var peer = await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = [endpoint] }, RealTime.Clock);
        var transaction = new StoreTransaction([], [new StoreOperation.Put("bench/one", new byte[RecordBytes])]);
        List<double> ours = [];
        List<double> theirs = [];
        for (var pair = 0; pair < Pairs + Warmups; pair++)
        {
            var own = await Metric.TimeAsync(() => embedded.TransactAsync(transaction, CancellationToken.None).AsTask());
            var other = await Metric.TimeAsync(() => peer.TransactAsync(transaction, CancellationToken.None).AsTask());
            if (pair >= Warmups)
            {
                ours.Add(own);
                theirs.Add(other);
            }
        }

        Metric.Print("store.sqlite.commit_p50_ms", Metric.Median(ours), "ms");
        Metric.Print("store.etcd.put_p50_ms", Metric.Median(theirs), "ms");
        Metric.Print("store.sqlite_commit_ratio_etcd_put", Metric.Median(ours) / Metric.Median(theirs), "ratio");
    }
}
