using Hypervisor.Server.Images.Blobs;

namespace Hypervisor.Server.Images.Archives;

/// <summary>
/// An uploaded archive, decompressed into one nameless file, with an index of its entries. Entries never become files of
/// their own: an entry's name is only ever compared.
/// </summary>
internal sealed class SpooledArchive : IDisposable
{
    private readonly FileStream _file;
    private readonly Dictionary<string, TarEntry> _entries = new(StringComparer.Ordinal);

    private readonly CancellationToken _cancellationToken;

    private SpooledArchive(FileStream file, CancellationToken cancellationToken) => (_file, _cancellationToken) = (file, cancellationToken);

    /// <param name="maxUnpackedBytes">Of the decompressed archive.</param>
    /// <param name="cancellationToken">Also ends every later read of the archive.</param>
    /// <exception cref="InvalidImageException"/>
    /// <exception cref="ImageStorageException"/>
    public static async Task<SpooledArchive> ReceiveAsync(
        UploadStream upload, BlobStore store, long maxUnpackedBytes, CancellationToken cancellationToken)
    {
        var archive = new SpooledArchive(store.CreateSpool(), cancellationToken);
        try
        {
            await archive.FillAsync(upload, maxUnpackedBytes, cancellationToken);
            archive.Index();
            return archive;
        }
        catch
        {
            archive.Dispose();
            throw;
        }
    }

    public bool Contains(string path) => _entries.ContainsKey(path);

    /// <summary>The file at a path, through links that stay in the archive; null when there is none.</summary>
    /// <exception cref="InvalidImageException">A link leads out of the archive, in circles, or to nothing.</exception>
    public BoundedStream? Open(string path)
    {
        var first = path;
        for (var hops = 0; hops < 8; hops++)
        {
            if (!_entries.TryGetValue(path, out var entry))
            {
                return hops == 0 ? null : throw new InvalidImageException($"Link \"{ArchivePath.Show(first)}\" points to \"{ArchivePath.Show(path)}\", which is not in the archive.");
            }

            if (entry.Kind == TarEntryKind.File)
            {
                return new BoundedStream(_file, entry.DataOffset, entry.Size, _cancellationToken);
            }

            if (entry.Kind != TarEntryKind.SymbolicLink)
            {
                throw new InvalidImageException($"Archive entry \"{entry.Shown}\" should be a file and is a directory.");
            }

            path = ArchivePath.ResolveLink(path, entry.LinkTarget);
        }

        throw new InvalidImageException($"Link \"{ArchivePath.Show(first)}\" leads in circles.");
    }

    /// <summary>A small file as a whole; null when there is none.</summary>
    public byte[]? ReadSmall(string path)
    {
        using var stream = Open(path);
        if (stream is null)
        {
            return null;
        }

        if (stream.Length > Limits.Images.JsonBytes)
        {
            throw new InvalidImageException($"Archive entry \"{ArchivePath.Show(path)}\" has {stream.Length} bytes; at most {Limits.Images.JsonBytes} are read.");
        }

        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        return content;
    }

    public void Dispose() => _file.Dispose();

    private async Task FillAsync(UploadStream upload, long maxUnpackedBytes, CancellationToken cancellationToken)
    {
        var head = new byte[Compression.MagicLength];
        var headLength = await upload.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancellationToken);
        if (headLength == 0)
        {
            throw new InvalidImageException("The archive is empty.");
        }

        using var whole = new PrependedStream(head.AsMemory(0, headLength), upload);
        var kind = Compression.Detect(head.AsSpan(0, headLength));
        var unpacked = Compression.Unpack(whole, kind);
        await using var _ = unpacked;
        var buffer = new byte[256 * 1024];
        long total = 0;
        while (true)
        {
            int count;
            try
            {
                count = await unpacked.ReadAsync(buffer, cancellationToken);
            }
            catch (Exception exception) when (Compression.IsCorruption(exception))
            {
                throw new InvalidImageException($"The archive's {kind} compression is damaged; make it again.", exception);
            }

            if (count == 0)
            {
                return;
            }

            total += count;
            if (total > maxUnpackedBytes)
            {
                throw new InvalidImageException($"The archive unpacks to more than {maxUnpackedBytes} bytes; the server's images.max_unpacked_size bounds it.");
            }

            Compression.RequirePlausible(upload.BytesRead, total, "The archive");
            try
            {
                await _file.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
            }
            catch (IOException exception)
            {
                throw BlobStore.Translate(exception);
            }
        }
    }

    private void Index()
    {
        _file.Position = 0;
        using var whole = new BufferedStream(new BoundedStream(_file, 0, _file.Length, _cancellationToken), 64 * 1024);
        var walker = new TarWalker(whole, Limits.Images.ArchiveEntries, "The archive");
        while (walker.Next() is { } entry)
        {
            if (entry.Kind is not (TarEntryKind.File or TarEntryKind.Directory or TarEntryKind.SymbolicLink))
            {
                throw new InvalidImageException($"Archive entry \"{entry.Shown}\" is a {Describe(entry.Kind)}; an image archive holds files and directories.");
            }

            var path = ArchivePath.Normalise(entry.Name, "Archive entry");
            if (entry.Kind == TarEntryKind.SymbolicLink)
            {
                ArchivePath.ResolveLink(path, entry.LinkTarget);
            }

            if (!_entries.TryAdd(path, entry) && (entry.Kind != TarEntryKind.Directory || _entries[path].Kind != TarEntryKind.Directory))
            {
                throw new InvalidImageException($"Archive entry \"{entry.Shown}\" occurs twice.");
            }
        }
    }

    private static string Describe(TarEntryKind kind) => kind switch
    {
        TarEntryKind.HardLink => "hard link",
        TarEntryKind.CharacterDevice or TarEntryKind.BlockDevice => "device",
        _ => "pipe",
    };
}
