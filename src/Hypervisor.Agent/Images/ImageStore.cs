using Containerd.Services.Content.V1;
using Containerd.Services.Images.V1;
using Containerd.Services.Snapshots.V1;
using Grpc.Core;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;

namespace Hypervisor.Agent.Images;

/// <summary>The images that containerd holds, unpacked. Remembers what it has seen until told that it is gone.</summary>
internal sealed class ImageStore(ContainerdClient client)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, UnpackedImage> _known = new(StringComparer.Ordinal);

    /// <summary>Under this name an image keeps its blobs and snapshots from being collected.</summary>
    public static string NameOf(string digest) => "hypervisor.zixiao/image@" + digest;

    /// <summary>The image if all of it is here: record, description and the snapshot of its last layer.</summary>
    /// <exception cref="DriverException">RuntimeUnavailable.</exception>
    public async Task<UnpackedImage?> FindAsync(string digest, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_known.TryGetValue(digest, out var known))
            {
                return known;
            }
        }

        try
        {
            await client.Images.GetAsync(new GetImageRequest { Name = NameOf(digest) }, client.Call(cancellationToken));
            var manifest = ImageDescription.ParseManifest(await ReadAsync(digest, cancellationToken));
            var description = ImageDescription.ParseConfiguration(manifest, await ReadAsync(manifest.Config!.Digest, cancellationToken));
            await client.Snapshots.StatAsync(
                new StatSnapshotRequest { Snapshotter = client.Snapshotter, Key = description.Chain[^1] }, client.Call(cancellationToken));
            return Remember(new UnpackedImage(digest, description.Chain[^1], description.Defaults));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            return null;
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw RuntimeErrors.Translate(error, client.SocketPath);
        }
        catch (InvalidDataException error)
        {
            throw new DriverException("ImageInvalid", $"the image {digest} cannot be used: {error.Message}", permanent: true, error);
        }
    }

    public UnpackedImage Remember(UnpackedImage image)
    {
        lock (_lock)
        {
            if (_known.Count >= ContainerdLimits.CachedImages)
            {
                _known.Clear();
            }

            _known[image.Digest] = image;
        }

        return image;
    }

    /// <summary>Something of it turned out to be missing: the next look is a real one.</summary>
    public void Forget(string digest)
    {
        lock (_lock)
        {
            _known.Remove(digest);
        }
    }

    /// <summary>A manifest or configuration; larger blobs are refused.</summary>
    public async Task<byte[]> ReadAsync(string digest, CancellationToken cancellationToken)
    {
        using var call = client.Content.Read(new ReadContentRequest { Digest = digest }, client.Call(cancellationToken));
        using var whole = new MemoryStream();
        await foreach (var part in call.ResponseStream.ReadAllAsync(cancellationToken))
        {
            if (whole.Length + part.Data.Length > ContainerdLimits.ManifestBytes)
            {
                throw new InvalidDataException($"{digest} is larger than {ContainerdLimits.ManifestBytes} bytes");
            }

            whole.Write(part.Data.Span);
        }

        return whole.ToArray();
    }
}
