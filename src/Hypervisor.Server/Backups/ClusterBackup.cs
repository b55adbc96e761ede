using System.Security.Cryptography;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Backups;

/// <summary>
/// Writes the backup file: every record of the cluster as of one revision. Leadership and the store's own keys are left out.
/// </summary>
internal sealed class ClusterBackup(IClusterStore store, TimeProvider time)
{
    /// <summary>
    /// The file in chunks of at most <see cref="Limits.Backups.ChunkBytes"/>. Broken off, it has no checksum and is refused.
    /// </summary>
    /// <exception cref="RevisionCompactedException">It took longer than history is kept.</exception>
    /// <exception cref="StoreUnavailableException"/>
    public async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var buffer = new MemoryStream();
        buffer.Write(BackupFile.Magic);
        var header = await HeaderAsync(cancellationToken);
        new BackupRecord { Header = header }.WriteDelimitedTo(buffer);
        var start = "";
        long entries = 0;
        RangeResult page;
        do
        {
            page = await store.RangeAsync(
                new(start, RangeQuery.PrefixEnd(""), header.Revision, Limits.Backups.PageKeys), cancellationToken);
            foreach (var item in page.Items)
            {
                start = item.Key + "\0";
                if (BackupFile.IsOfTheCluster(item.Key))
                {
                    var entry = new BackupEntry { Key = item.Key, Value = UnsafeByteOperations.UnsafeWrap(item.Value) };
                    new BackupRecord { Entry = entry }.WriteDelimitedTo(buffer);
                    entries++;
                }
            }

            foreach (var chunk in Take(buffer, hash))
            {
                yield return chunk;
            }
        }
        while (page.More);

        new BackupRecord { End = new() { Entries = entries } }.WriteDelimitedTo(buffer);
        foreach (var chunk in Take(buffer, hash))
        {
            yield return chunk;
        }

        yield return hash.GetHashAndReset();
    }

    private async Task<BackupHeader> HeaderAsync(CancellationToken cancellationToken)
    {
        var range = await store.RangeAsync(RangeQuery.Single(Keys.ClusterIdentity), cancellationToken);
        var identity = range.Items is [var item]
            ? ClusterIdentity.Parser.ParseFrom(item.Value.Span)
            : throw new StoreUnavailableException("The store has no cluster in it yet; there is nothing to back up.");
        return new BackupHeader
        {
            Format = BackupFile.Format,
            ClusterUid = identity.ClusterUid,
            Incarnation = identity.Incarnation,
            Revision = range.Revision,
            MadeAt = Timestamp.FromDateTimeOffset(time.GetUtcNow()),
            ServerVersion = CommandLine.Version,
        };
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Take(MemoryStream buffer, IncrementalHash hash)
    {
        var bytes = buffer.ToArray();
        buffer.SetLength(0);
        hash.AppendData(bytes);
        for (var offset = 0; offset < bytes.Length; offset += Limits.Backups.ChunkBytes)
        {
            yield return bytes.AsMemory(offset, Math.Min(Limits.Backups.ChunkBytes, bytes.Length - offset));
        }
    }
}
