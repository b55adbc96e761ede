using System.Security.Cryptography;

namespace Hypervisor.Server.Images.Blobs;

/// <summary>A blob in the making: written to a temporary file, hashed on the way. Disposing without commit leaves nothing.</summary>
internal sealed class BlobUpload(BlobStore store, FileStream file) : IDisposable
{
    /// <summary>Zeros of this length and more become a hole of the file.</summary>
    private const int HoleBytes = 4096;

    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private bool _committed;

    public long Length { get; private set; }

    /// <exception cref="ImageStorageException">The disk is full or failing.</exception>
    public void Write(ReadOnlySpan<byte> data)
    {
        _hash.AppendData(data);
        Length += data.Length;
        try
        {
            if (data.Length >= HoleBytes && !data.ContainsAnyExcept((byte)0))
            {
                file.Seek(data.Length, SeekOrigin.Current);
            }
            else
            {
                file.Write(data);
            }
        }
        catch (IOException exception)
        {
            throw BlobStore.Translate(exception);
        }
    }

    /// <summary>What was written before, to judge it as a whole; beyond it there are zeros.</summary>
    /// <exception cref="ImageStorageException"/>
    public void Read(long offset, Span<byte> buffer)
    {
        try
        {
            for (int count; buffer.Length > 0 && (count = RandomAccess.Read(file.SafeFileHandle, buffer, offset)) > 0;)
            {
                offset += count;
                buffer = buffer[count..];
            }
        }
        catch (IOException exception)
        {
            throw BlobStore.Translate(exception);
        }

        buffer.Clear();
    }

    /// <summary>Makes the blob durable and gives it its name, if it is the expected one.</summary>
    /// <exception cref="InvalidImageException">The content has another digest than <paramref name="expected"/>.</exception>
    /// <exception cref="ImageStorageException"/>
    public ImageDigest Commit(ImageDigest? expected, BlobLease lease)
    {
        var digest = ImageDigest.Of(_hash.GetHashAndReset());
        if (expected is { } wanted && wanted != digest)
        {
            throw new InvalidImageException($"Blob {wanted} has the content of {digest}: the archive is damaged, or the registry; nothing of it is kept.");
        }

        return BlobStore.Guarded(() =>
        {
            file.SetLength(Length);
            file.Flush(flushToDisk: true);
            store.Publish(file.Name, digest, lease);
            _committed = true;
            return digest;
        });
    }

    public void Dispose()
    {
        file.Dispose();
        _hash.Dispose();
        if (!_committed)
        {
            File.Delete(file.Name);
        }
    }
}
