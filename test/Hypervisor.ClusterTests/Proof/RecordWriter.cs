using System.Globalization;
using System.Text;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Etcd;
using Hypervisor.Server.Stores.Sqlite;
using Hypervisor.TestCluster;
using Hypervisor.TestCluster.Traces;

namespace Hypervisor.ClusterTests.Proof;

/// <summary>
/// A process that writes records by many writers through the server's own store, and notes each one in a file, by one call, once
/// it is acknowledged.
/// </summary>
internal static class RecordWriter
{
    /// <summary>Makes the program of the tests this one.</summary>
    public const string Argument = "--write-records";

    private const string Prefix = "records/";

    /// <summary>Created when the store is open; the writers wait until <see cref="GoFile"/> is there.</summary>
    public static string AcknowledgementsFile(string folder) => $"{folder}/acknowledgements";

    public static string GoFile(string folder) => $"{folder}/go";

    public static string DatabaseFile(string folder) => $"{folder}/store.db";

    /// <summary>The process, not started yet.</summary>
    /// <param name="etcd">Null for the embedded store.</param>
    /// <param name="acknowledgesEarly">The planted bug: a record counts as acknowledged when the store was asked.</param>
    public static RealProcess Process(string folder, Uri? etcd, int writers, int records, int bytes, bool acknowledgesEarly = false) => new(
        "record-writer",
        Environment.ProcessPath!,
        [Argument, folder, etcd?.ToString() ?? "", Text(writers), Text(records), Text(bytes), acknowledgesEarly ? "early" : "durable"],
        $"{folder}/writer.log");

    public static async Task<int> RunAsync(string[] arguments)
    {
        var (folder, etcd) = (arguments[0], arguments[1]);
        var (writers, records, bytes) = (Number(arguments[2]), Number(arguments[3]), Number(arguments[4]));
        await using var store = await OpenAsync(folder, etcd.Length == 0 ? null : new Uri(etcd));
        await using var writer = new StoreWriter(store, RealTime.Clock);
        using var notes = new Notes(AcknowledgementsFile(folder));
        await RealTime.UntilAsync("the test says go", TimeSpan.FromSeconds(60), () => File.Exists(GoFile(folder)));
        await Task.WhenAll(Enumerable.Range(0, writers).Select(async first =>
        {
            for (var record = first; record < records; record += writers)
            {
                var writing = writer.WriteAsync(Write(record, bytes), CancellationToken.None);
                if (arguments[5] == "early")
                {
                    notes.Add(record);
                }

                try
                {
                    if (!(await writing).Succeeded)
                    {
                        throw new InvalidOperationException($"record {record} was there already");
                    }
                }
                catch (StoreUnavailableException)
                {
                    // A member that is stopped again and again may answer too late: then the record may be there, and nothing is owed.
                    continue;
                }

                if (arguments[5] != "early")
                {
                    notes.Add(record);
                }
            }
        }));
        return 0;
    }

    /// <summary>The records that a store holds.</summary>
    public static async Task<IReadOnlySet<int>> HeldAsync(IClusterStore store)
    {
        var items = (await store.RangeAsync(RangeQuery.Prefix(Prefix), CancellationToken.None)).Items;
        return items.Select(item => Number(item.Key[Prefix.Length..])).ToHashSet();
    }

    /// <summary>The records acknowledged so far.</summary>
    public static IReadOnlySet<int> Acknowledged(string folder) =>
        File.ReadLines(AcknowledgementsFile(folder)).Select(line => Number(line["ack ".Length..])).ToHashSet();

    private static async Task<IClusterStore> OpenAsync(string folder, Uri? etcd) => etcd is null
        ? await SqliteStore.OpenAsync(DatabaseFile(folder), RealTime.Clock)
        : await EtcdStore.OpenAsync(new EtcdConfiguration { Endpoints = [etcd] }, RealTime.Clock);

    private static StoreWrite Write(int record, int bytes)
    {
        var key = string.Create(CultureInfo.InvariantCulture, $"{Prefix}{record:D6}");
        var marks = string.Concat(Enumerable.Repeat(AcknowledgementOrder.Mark(record), AcknowledgementOrder.Marks));
        return new StoreWrite([Compare.Absent(key)], [new StoreOperation.Put(key, Encoding.ASCII.GetBytes(marks.PadRight(bytes, '.')))]);
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>One call of the kernel for each acknowledgement, so that a trace shows when it was given.</summary>
    private sealed class Notes(string path) : IDisposable
    {
        private readonly Lock _gate = new();
        private readonly Microsoft.Win32.SafeHandles.SafeFileHandle _file = File.OpenHandle(
            path, FileMode.CreateNew, FileAccess.Write, FileShare.Read);

        private long _length;

        public void Add(int record)
        {
            var text = Encoding.ASCII.GetBytes(AcknowledgementOrder.Acknowledgement(record));
            lock (_gate)
            {
                RandomAccess.Write(_file, text, _length);
                _length += text.Length;
            }
        }

        public void Dispose() => _file.Dispose();
    }
}
