using System.Security.Cryptography;

namespace Hypervisor.Server.Images.Blobs;

/// <summary>A blob in the making: written to a temporary file, hashed on the way. Disposing without commit leaves nothing.</summary>
internal sealed class BlobUpload(BlobStore store, FileStream file) : IDisposable
{
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
            file.Write(data);
        }
        catch (IOException exception)
        {
            throw BlobStore.Translate(exception);
        }
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
