using Containerd.Services.Images.V1;
using Containerd.Types;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Instances;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;
using ImageRecord = Containerd.Services.Images.V1.Image;

namespace Hypervisor.Agent.Images;

/// <summary>Images from the control plane into containerd: fetched once, whoever waits, and unpacked.</summary>
internal sealed class ImageProvider(
    ContainerdClient client, ImageStore store, IControlPlane controlPlane, TimeProvider time, IRandomSource random) : IImageProvider
{
    private const string OciManifest = "application/vnd.oci.image.manifest.v1+json";

    private readonly BlobFetcher _fetcher = new(client, controlPlane, time);
    private readonly LayerUnpacker _unpacker = new(client, random);
    private readonly SharedWork<string> _downloads = new();

    public async Task<string> EnsureAsync(string project, string reference, string digest, CancellationToken cancellationToken)
    {
        if (digest.Length == 0)
        {
            digest = await ResolveAsync(project, reference, cancellationToken);
        }

        if (!ChainIds.IsDigest(digest))
        {
            throw new DriverException("ImageInvalid", $"the image \"{reference}\" has a digest that is none: \"{digest}\"", permanent: true);
        }

        if (await store.FindAsync(digest, cancellationToken) is null)
        {
            await _downloads.RunAsync(digest, shared => DownloadAsync(reference, digest, shared), cancellationToken);
        }

        return digest;
    }

    private async Task<string> ResolveAsync(string project, string reference, CancellationToken cancellationToken)
    {
        try
        {
            var request = new ResolveImageRequest { Project = project, Image = reference };
            return (await controlPlane.ResolveImageAsync(request, cancellationToken)).Digest;
        }
        catch (RpcException error) when (error.StatusCode is StatusCode.NotFound or StatusCode.InvalidArgument)
        {
            throw new DriverException(
                "ImageNotFound", $"there is no image \"{reference}\" in the project; import it, or correct spec.image", permanent: true, error);
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw new DriverException(
                "ImageUnavailable", $"the image \"{reference}\" could not be looked up: {error.Status.Detail}", permanent: false, error);
        }
    }

    private async Task DownloadAsync(string reference, string digest, CancellationToken cancellationToken)
    {
        if (await store.FindAsync(digest, cancellationToken) is not null)
        {
            return;
        }

        try
        {
            await using var lease = await ContainerdLease.OpenAsync(client, random.NewUid(), time.GetUtcNow(), cancellationToken);
            store.Remember(await FetchAndUnpackAsync(digest, lease.Id, cancellationToken));
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw RuntimeErrors.Translate(error, client.SocketPath);
        }
        catch (InvalidDataException error)
        {
            throw new DriverException("ImageInvalid", $"the image \"{reference}\" cannot be used: {error.Message}", permanent: true, error);
        }
    }

    /// <summary>
    /// The lease holds every part until the labels refer from manifest to configuration, layers and snapshots, and the image's
    /// name holds the manifest: at no moment can the collector take a part.
    /// </summary>
    private async Task<UnpackedImage> FetchAndUnpackAsync(string digest, string lease, CancellationToken cancellationToken)
    {
        var none = new Dictionary<string, string>();
        await _fetcher.FetchAsync(digest, none, lease, cancellationToken);
        var manifestJson = await store.ReadAsync(digest, cancellationToken);
        var manifest = ImageDescription.ParseManifest(manifestJson);
        await _fetcher.FetchAsync(manifest.Config!.Digest, none, lease, cancellationToken);
        var image = ImageDescription.ParseConfiguration(manifest, await store.ReadAsync(manifest.Config.Digest, cancellationToken));
        await FetchLayersAsync(manifest, lease, cancellationToken);
        await _unpacker.UnpackAsync(image, lease, cancellationToken);

        var references = new Dictionary<string, string> { ["containerd.io/gc.ref.content.config"] = manifest.Config.Digest };
        for (var index = 0; index < manifest.Layers!.Count; index++)
        {
            references[$"containerd.io/gc.ref.content.l.{index}"] = manifest.Layers[index].Digest;
        }

        await _fetcher.FetchAsync(digest, references, lease, cancellationToken);
        await _fetcher.FetchAsync(
            manifest.Config.Digest,
            new Dictionary<string, string> { ["containerd.io/gc.ref.snapshot." + client.Snapshotter] = image.Chain[^1] },
            lease,
            cancellationToken);
        await NameAsync(digest, manifest.MediaType is { Length: > 0 } type ? type : OciManifest, manifestJson.Length, lease, cancellationToken);
        return new UnpackedImage(digest, image.Chain[^1], image.Defaults);
    }

    private async Task FetchLayersAsync(ImageManifest manifest, string lease, CancellationToken cancellationToken)
    {
        var none = new Dictionary<string, string>();
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(ContainerdLimits.ParallelFetches);
        await Task.WhenAll(manifest.Layers!.Select(layer => layer.Digest).Distinct().Select(FetchAsync));

        async Task FetchAsync(string layer)
        {
            await slots.WaitAsync(failed.Token);
            try
            {
                await _fetcher.FetchAsync(layer, none, lease, failed.Token);
            }
            catch
            {
                await failed.CancelAsync();
                throw;
            }
            finally
            {
                slots.Release();
            }
        }
    }

    private async Task NameAsync(string digest, string mediaType, long size, string lease, CancellationToken cancellationToken)
    {
        var record = new ImageRecord
        {
            Name = ImageStore.NameOf(digest),
            Target = new ContentDescriptor { MediaType = mediaType, Digest = digest, Size = size },
        };
        try
        {
            await client.Images.CreateAsync(
                new CreateImageRequest { Image = record }, client.Call(ContainerdLimits.Metadata, cancellationToken, lease));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
        {
            // The name contains the digest: it can only be the same image.
        }
    }
}
