namespace Hypervisor.Server.Images.Blobs;

/// <summary>
/// Files named by the SHA-256 of their content. A file is complete and durable from the moment it has its name; whatever
/// has another name is a leftover and removed at start. Only this process writes here: the directories are mode 0700.
/// </summary>
internal sealed class BlobStore
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    // Errors of open, write and fsync that mean "no room": EFBIG, ENOSPC, EDQUOT.
    private static readonly int[] NoRoom = [27, 28, 122];

    private readonly string _directory;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _pins = new(StringComparer.Ordinal);
    private long _temporaryNumber;

    private BlobStore(string directory) => _directory = directory;

    /// <summary>Opens the store below a data directory, making it if need be.</summary>
    /// <exception cref="ImageStorageException">The directory cannot be made or cleaned.</exception>
    public static BlobStore Open(string dataDirectory)
    {
        var images = Path.Combine(dataDirectory, "images");
        var directory = Path.Combine(images, "blobs", "sha256");
        try
        {
            foreach (var level in (ReadOnlySpan<string>)[images, Path.Combine(images, "blobs"), directory])
            {
                Directory.CreateDirectory(level, OwnerOnly);
                var information = new DirectoryInfo(level);
                if (information.LinkTarget is not null)
                {
                    throw new IOException($"{level} is a link; make it a directory of its own");
                }

                File.SetUnixFileMode(level, OwnerOnly);
            }

            foreach (var leftover in Directory.EnumerateFiles(directory).Where(path => !ImageDigest.TryParse("sha256:" + Path.GetFileName(path), out _)))
            {
                File.Delete(leftover);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ImageStorageException($"The image store {directory} cannot be opened: {exception.Message}", exception);
        }

        return new BlobStore(directory);
    }

    /// <summary>A nameless file in the store's own file system, gone when disposed.</summary>
    /// <exception cref="ImageStorageException"/>
    public FileStream CreateSpool() => Guarded(() => CreateTemporary(FileOptions.DeleteOnClose));

    /// <summary>Begins a blob; nothing is visible until <see cref="BlobUpload.Commit"/>.</summary>
    /// <exception cref="ImageStorageException"/>
    public BlobUpload BeginUpload() => Guarded(() => new BlobUpload(this, CreateTemporary(FileOptions.None)));

    /// <summary>What is not there is refused before any of it is written.</summary>
    /// <exception cref="ImageStorageException">The file system has less free space.</exception>
    public void RequireRoom(long bytes)
    {
        if (Guarded(() => new DriveInfo(_directory).AvailableFreeSpace) is var free && free < bytes)
        {
            throw Translate(new IOException($"{bytes} bytes are to be written, {free} are free", NoRoom[1]));
        }
    }

    /// <summary>Blobs committed or named under the lease stay until it is disposed, whether or not a record names them.</summary>
    public BlobLease Lease() => new(this);

    /// <summary>Bytes of a blob; null when there is none.</summary>
    public long? SizeOf(ImageDigest digest) => new FileInfo(PathOf(digest)) is { Exists: true } file ? file.Length : null;

    /// <summary>The content from its beginning; null when there is none. Stays readable when the blob is removed meanwhile.</summary>
    public FileStream? OpenRead(ImageDigest digest) =>
        PosixFiles.OpenRead(PathOf(digest)) is { } handle ? new FileStream(handle, FileAccess.Read, bufferSize: 0) : null;

    /// <summary>Removes every blob that is neither under lease nor named.</summary>
    /// <param name="named">
    /// Asked once, while no lease can begin or end: whoever ends a lease must have made its record visible to this function.
    /// </param>
    /// <returns>How many were removed.</returns>
    public int Collect(Func<IReadOnlySet<string>> named)
    {
        lock (_lock)
        {
            var live = named();
            var removed = 0;
            foreach (var path in Directory.EnumerateFiles(_directory))
            {
                if (ImageDigest.TryParse("sha256:" + Path.GetFileName(path), out var digest) && !live.Contains(digest.Value) && !_pins.ContainsKey(digest.Value))
                {
                    File.Delete(path);
                    removed++;
                }
            }

            return removed;
        }
    }

    /// <summary>Translates a failure of the disk into what its user can act on.</summary>
    public static T Guarded<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (IOException exception)
        {
            throw Translate(exception);
        }
    }

    public static ImageStorageException Translate(IOException exception) => NoRoom.Contains(exception.HResult)
        ? new("The server's disk is full; remove images or enlarge the file system of its data_dir, then import again.", exception)
        : new("The server's disk failed while the image was written; its log has the details.", exception);

    internal void Publish(string temporaryPath, ImageDigest digest, BlobLease lease)
    {
        lock (_lock)
        {
            lease.Pin(digest);
            // Over an existing file on purpose: a damaged blob is healed by importing its image again.
            File.Move(temporaryPath, PathOf(digest), overwrite: true);
        }

        PosixFiles.SyncDirectory(_directory);
    }

    internal void AddPin(ImageDigest digest)
    {
        lock (_lock)
        {
            _pins[digest.Value] = _pins.GetValueOrDefault(digest.Value) + 1;
        }
    }

    internal void RemovePins(IEnumerable<ImageDigest> digests)
    {
        lock (_lock)
        {
            foreach (var digest in digests)
            {
                if (--_pins[digest.Value] == 0)
                {
                    _pins.Remove(digest.Value);
                }
            }
        }
    }

    private FileStream CreateTemporary(FileOptions options) =>
        // CreateNew is O_CREAT|O_EXCL, which follows no link in the last component (open(2)).
        new(Path.Combine(_directory, $"tmp-{Interlocked.Increment(ref _temporaryNumber)}"), new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.Read,
            Options = options,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });

    private string PathOf(ImageDigest digest) => Path.Combine(_directory, digest.Hex);
}

/// <summary>Keeps blobs from being collected while no record names them yet.</summary>
internal sealed class BlobLease(BlobStore store) : IDisposable
{
    private readonly HashSet<ImageDigest> _digests = [];

    public void Dispose()
    {
        store.RemovePins(_digests);
        _digests.Clear();
    }

    internal void Pin(ImageDigest digest)
    {
        if (_digests.Add(digest))
        {
            store.AddPin(digest);
        }
    }
}
