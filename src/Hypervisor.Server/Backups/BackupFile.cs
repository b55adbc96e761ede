using System.Security.Cryptography;
using Google.Protobuf;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Backups;

/// <summary>The file is not a backup, or not as it was written.</summary>
internal sealed class InvalidBackupException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A backup that was read to its end once, so that its checksum is known to be right before anything is done with it.</summary>
internal sealed class BackupFile : IDisposable
{
    public const int Format = 1;

    private readonly FileStream _file;

    private BackupFile(FileStream file, byte[] digest, BackupHeader header) => (_file, Digest, Header) = (file, digest, header);

    public static ReadOnlySpan<byte> Magic => "ZXBACKUP"u8;

    /// <summary>SHA-256 of what the file holds.</summary>
    public ReadOnlyMemory<byte> Digest { get; }

    public BackupHeader Header { get; }

    /// <summary>Whether the key is the cluster's and not its servers' (leadership) or its store's.</summary>
    public static bool IsOfTheCluster(string key) =>
        key is not (Keys.ClusterIdentity or Keys.WatchMarker or Keys.Restore or Keys.EventsRecorded) && !key.StartsWith(Keys.Leaders, StringComparison.Ordinal);

    /// <exception cref="InvalidBackupException">It cannot be read, or is not a whole and unchanged backup that we understand.</exception>
    public static BackupFile Open(string path)
    {
        FileStream file;
        try
        {
            file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidBackupException($"{path} cannot be read: {exception.Message}", exception);
        }

        try
        {
            var digest = Verify(file, path);
            file.Position = Magic.Length;
            var header = Parse(file, path).Header ?? throw new InvalidBackupException($"{path} does not begin with a header.");
            if (header.Format != Format)
            {
                throw new InvalidBackupException($"{path} is of format {header.Format}; this version reads {Format}.");
            }

            // Read to the end as a restore will, so that nothing is left to find out then.
            var backup = new BackupFile(file, digest, header);
            foreach (var _ in backup.Entries())
            {
            }

            return backup;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>All records, in the order of their keys.</summary>
    /// <exception cref="InvalidBackupException">The file is not what its checksum says.</exception>
    public IEnumerable<BackupEntry> Entries()
    {
        _file.Position = Magic.Length;
        Parse(_file, _file.Name);
        for (long entries = 0; ; entries++)
        {
            var record = Parse(_file, _file.Name);
            if (record.KindCase == BackupRecord.KindOneofCase.Entry)
            {
                yield return record.Entry;
                continue;
            }

            if (record.KindCase != BackupRecord.KindOneofCase.End || record.End.Entries != entries
                || _file.Position != _file.Length - SHA256.HashSizeInBytes)
            {
                throw new InvalidBackupException($"{_file.Name} does not hold what it says.");
            }

            yield break;
        }
    }

    public void Dispose() => _file.Dispose();

    private static byte[] Verify(FileStream file, string path)
    {
        Span<byte> magic = stackalloc byte[Magic.Length];
        if (file.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) < magic.Length || !magic.SequenceEqual(Magic))
        {
            throw new InvalidBackupException($"{path} is not a backup of a cluster.");
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(magic);
        var left = file.Length - magic.Length - SHA256.HashSizeInBytes;
        var buffer = new byte[Limits.Backups.ChunkBytes];
        while (left > 0)
        {
            var read = file.Read(buffer, 0, (int)Math.Min(left, buffer.Length));
            if (read == 0)
            {
                break;
            }

            hash.AppendData(buffer, 0, read);
            left -= read;
        }

        var digest = hash.GetHashAndReset();
        var stored = new byte[SHA256.HashSizeInBytes];
        if (left != 0
            || file.ReadAtLeast(stored, stored.Length, throwOnEndOfStream: false) < stored.Length || !stored.AsSpan().SequenceEqual(digest))
        {
            throw new InvalidBackupException($"{path} is cut off or was changed: its checksum is wrong. Use another backup.");
        }

        return digest;
    }

    private static BackupRecord Parse(FileStream file, string path)
    {
        try
        {
            return BackupRecord.Parser.ParseDelimitedFrom(file);
        }
        catch (InvalidProtocolBufferException exception)
        {
            throw new InvalidBackupException($"{path} holds something else than records.", exception);
        }
    }
}
