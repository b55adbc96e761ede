using System.Globalization;
using Google.Protobuf;
using Hypervisor.Protocol;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Backups;

/// <summary>
/// Fills an empty store from a backup, with an incarnation above that of the backup and of every restore that this data
/// directory knows of; agents that remember a higher one raise it further when they register.
/// </summary>
/// <remarks>
/// Done by the server program while no server runs: a server on the empty store would give it an identity of its own and
/// register the agents that come back before their records are there. While the restore is under way a key says so, and a
/// server that starts waits; the identity is written with the last transaction. A restore that was cut off is finished by
/// running it again.
/// </remarks>
internal static class ClusterRestore
{
    public const string IncarnationFile = "incarnation";

    /// <returns>A sentence for the person who runs it.</returns>
    /// <exception cref="StartupException">The file or the store does not allow it; nothing was changed.</exception>
    /// <exception cref="StoreUnavailableException">The store went away; run it again.</exception>
    public static async Task<string> RunAsync(string path, IClusterStore store, string dataDirectory)
    {
        try
        {
            using var file = BackupFile.Open(path);
            var incarnation = Math.Max(file.Header.Incarnation, Remembered(dataDirectory)) + 1;
            if (incarnation >= Incarnation.Maximum)
            {
                throw new StartupException(
                    $"{path}: incarnation {incarnation} is more than there are; was this store restored that often?");
            }

            await BeginAsync(store, file);
            var records = await WriteAsync(store, file);
            Remember(dataDirectory, incarnation);
            await EndAsync(store, file, incarnation);
            return $"Restored {records} records of cluster {file.Header.ClusterUid} as of {file.Header.MadeAt.ToDateTimeOffset():u} "
                + $"into the {store.Kind} store, incarnation {incarnation}. Start the servers.";
        }
        catch (InvalidBackupException exception)
        {
            throw new StartupException($"{exception.Message} Nothing was changed.", exception);
        }
    }

    private static async Task BeginAsync(IClusterStore store, BackupFile file)
    {
        var held = await store.RangeAsync(RangeQuery.Single(Keys.Restore), CancellationToken.None);
        if (held.Items is [var begun])
        {
            if (!begun.Value.Span.SequenceEqual(file.Digest.Span))
            {
                throw new StartupException(
                    $"A restore from another file was begun and not finished (SHA-256 {Convert.ToHexStringLower(begun.Value.Span)}): "
                    + "finish it with that file.");
            }

            return;
        }

        if (await FirstKeyAsync(store) is { } key)
        {
            throw new StartupException(
                $"The {store.Kind} store is not empty (it holds {key}): restore into an empty one. Nothing was changed.");
        }

        var result = await store.TransactAsync(
            new([Compare.Absent(Keys.Restore), Compare.Absent(Keys.ClusterIdentity)], [new StoreOperation.Put(Keys.Restore, file.Digest)]),
            CancellationToken.None);
        if (!result.Succeeded)
        {
            throw new StartupException(
                $"Somebody else began to use the {store.Kind} store just now: stop all servers. Nothing was changed.");
        }
    }

    private static async Task<string?> FirstKeyAsync(IClusterStore store)
    {
        var page = await store.RangeAsync(RangeQuery.Prefix("", limit: Limits.Backups.PageKeys), CancellationToken.None);
        return page.Items.Select(item => item.Key).FirstOrDefault(key => key == Keys.ClusterIdentity || BackupFile.IsOfTheCluster(key));
    }

    private static async Task<long> WriteAsync(IClusterStore store, BackupFile file)
    {
        List<StoreOperation> batch = [];
        var bytes = 0;
        long records = 0;
        foreach (var entry in file.Entries())
        {
            if (batch.Count == Limits.Backups.RecordsPerWrite
                || (batch.Count > 0 && bytes + entry.Value.Length > Limits.Backups.BytesPerWrite))
            {
                await WriteAsync(store, file, batch);
                batch = [];
                bytes = 0;
            }

            batch.Add(new StoreOperation.Put(entry.Key, entry.Value.Memory));
            bytes += entry.Value.Length;
            records++;
        }

        if (batch.Count > 0)
        {
            await WriteAsync(store, file, batch);
        }

        return records;
    }

    private static Task EndAsync(IClusterStore store, BackupFile file, int incarnation)
    {
        var identity = new ClusterIdentity { ClusterUid = file.Header.ClusterUid, Incarnation = incarnation };
        return WriteAsync(
            store, file, [new StoreOperation.Put(Keys.ClusterIdentity, identity.ToByteArray()), new StoreOperation.Delete(Keys.Restore)]);
    }

    private static async Task WriteAsync(IClusterStore store, BackupFile file, IReadOnlyList<StoreOperation> operations)
    {
        var result = await store.TransactAsync(new([Compare.ValueEquals(Keys.Restore, file.Digest)], operations), CancellationToken.None);
        if (!result.Succeeded)
        {
            throw new StoreUnavailableException("Another restore runs into the same store; let one of them finish alone.");
        }
    }

    /// <summary>The highest incarnation that a restore by this server gave.</summary>
    private static int Remembered(string dataDirectory)
    {
        var path = Path.Combine(dataDirectory, IncarnationFile);
        try
        {
            return File.Exists(path) && int.TryParse(File.ReadAllText(path), CultureInfo.InvariantCulture, out var incarnation)
                ? incarnation
                : 0;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StartupException($"{path} cannot be read: {exception.Message}", exception);
        }
    }

    /// <summary>Before the store has it: one that is given twice would be worse than one that is given to nobody.</summary>
    private static void Remember(string dataDirectory, int incarnation)
    {
        var path = Path.Combine(dataDirectory, IncarnationFile);
        try
        {
            Directory.CreateDirectory(dataDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using (var file = new FileStream(path + ".new", FileMode.Create, FileAccess.Write))
            {
                file.Write(System.Text.Encoding.ASCII.GetBytes(incarnation.ToString(CultureInfo.InvariantCulture)));
                file.Flush(flushToDisk: true);
            }

            File.Move(path + ".new", path, overwrite: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StartupException($"{path} cannot be written: {exception.Message} Run the restore again once it can.", exception);
        }
    }
}
