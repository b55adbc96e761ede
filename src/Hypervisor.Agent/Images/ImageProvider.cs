using Containerd.Services.Images.V1;
using Containerd.Types;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Guests.Images;
using Hypervisor.Agent.Instances;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;
using ImageRecord = Containerd.Services.Images.V1.Image;

namespace Hypervisor.Agent.Images;

/// <summary>Images onto the node: OCI images into containerd, unpacked while they arrive; disk images into their own store. Once, whoever waits.</summary>
/// <param name="disks">Null where there is no type that boots a disk.</param>
internal sealed class ImageProvider(
    ContainerdClient client,
    ImageStore store,
    ImageUse use,
    IControlPlane controlPlane,
    RegistryClient registries,
    IHostApplicationLifetime lifetime,
    TimeProvider time,
    IRandomSource random,
    DiskImageStore? disks = null)
    : IImageProvider
{
    private const string OciManifest = "application/vnd.oci.image.manifest.v1+json";

    private readonly BlobFetcher _fetcher = new(client, controlPlane, registries, time);
    private readonly PlainLayers _plain = new(client, time, random);
    private readonly LayerUnpacker _unpacker = new(client, time, random);
    private readonly SharedWork<string> _downloads = new();

    public async Task<string> EnsureAsync(
        string project, string reference, string digest, ImagePullPolicy policy, CancellationToken cancellationToken)
    {
        ResolvedImage? resolved = null;
        if (digest.Length == 0)
        {
            resolved = await ResolveAsync(project, reference, digest, policy, cancellationToken);
            digest = resolved.Digest;
        }

        if (!ChainIds.IsDigest(digest))
        {
            throw new DriverException("ImageInvalid", $"the image \"{reference}\" has a digest that is none: \"{digest}\"", permanent: true);
        }

        // Noted before it is looked for: what was found must not be removed before a container holds it.
        use.Note(digest);
        if (disks is not null && await disks.FindAsync(digest, cancellationToken) is not null)
        {
            return digest;
        }

        var (present, away) = await LookAsync(digest, cancellationToken);
        if (!present)
        {
            resolved ??= await ResolveAsync(project, reference, digest, policy, cancellationToken);
            await BringAsync(reference, resolved, away, cancellationToken);
            use.Note(digest);
        }

        return digest;
    }

    /// <returns>Whether containerd has it, and why it does not say so: what it never has can be used all the same.</returns>
    private async Task<(bool Present, DriverException? Away)> LookAsync(string digest, CancellationToken cancellationToken)
    {
        try
        {
            return (await store.FindAsync(digest, cancellationToken) is not null, null);
        }
        catch (DriverException error) when (disks is not null && !error.Permanent)
        {
            return (false, error);
        }
    }

    private async Task BringAsync(string reference, ResolvedImage image, DriverException? containerdAway, CancellationToken cancellationToken)
    {
        if (image.Format is ImageFormat.Unspecified or ImageFormat.Oci)
        {
            if (containerdAway is not null)
            {
                throw containerdAway;
            }

            await _downloads.RunAsync(image.Digest, shared => DownloadAsync(reference, image.Digest, image.Origin, shared), cancellationToken);
            return;
        }

        if (disks is null)
        {
            throw new DriverException("ImageInvalid", $"the image \"{reference}\" is a disk, which nothing on this node boots", permanent: true);
        }

        await disks.EnsureAsync(image.Digest, cancellationToken);
    }

    private async Task<ResolvedImage> ResolveAsync(
        string project, string reference, string digest, ImagePullPolicy policy, CancellationToken cancellationToken)
    {
        try
        {
            var request = new ResolveImageRequest { Project = project, Image = reference, Digest = digest, PullPolicy = policy };
            var answer = await controlPlane.ResolveImageAsync(request, cancellationToken);
            return new(answer.Digest, ImageOrigin.Of(answer), answer.Format);
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw ImageOrigin.Explain(error, reference);
        }
    }

    private sealed record ResolvedImage(string Digest, ImageOrigin Origin, ImageFormat Format);

    private async Task DownloadAsync(string reference, string digest, ImageOrigin origin, CancellationToken cancellationToken)
    {
        if (await store.FindAsync(digest, cancellationToken) is not null)
        {
            return;
        }

        try
        {
            await using var lease = await ContainerdLease.OpenAsync(client, random.NewUid(), time.GetUtcNow(), cancellationToken, image: digest);
            try
            {
                store.Remember(await FetchAndUnpackAsync(digest, origin, lease.Id, cancellationToken));
                await lease.DeleteOlderAsync(digest, cancellationToken);
            }
            catch (Exception) when (lifetime.ApplicationStopping.IsCancellationRequested)
            {
                // Still wanted: the next agent goes on where this one ends.
                lease.Keep();
                throw;
            }
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
    private async Task<UnpackedImage> FetchAndUnpackAsync(string digest, ImageOrigin origin, string lease, CancellationToken cancellationToken)
    {
        var manifestBlob = new WantedBlob(digest, 0, origin);
        await _fetcher.FetchAsync(manifestBlob, lease, cancellationToken);
        var manifestJson = await store.ReadAsync(digest, cancellationToken);
        var manifest = ImageDescription.ParseManifest(manifestJson);
        var configBlob = new WantedBlob(manifest.Config!.Digest, manifest.Config.Size, origin);
        await _fetcher.FetchAsync(configBlob, lease, cancellationToken);
        var image = ImageDescription.ParseConfiguration(manifest, await store.ReadAsync(manifest.Config.Digest, cancellationToken));
        await LayersAsync(image, origin, lease, cancellationToken);

        var references = new Dictionary<string, string> { ["containerd.io/gc.ref.content.config"] = manifest.Config.Digest };
        for (var index = 0; index < manifest.Layers!.Count; index++)
        {
            references[$"containerd.io/gc.ref.content.l.{index}"] = manifest.Layers[index].Digest;
        }

        await _fetcher.LabelAsync(manifestBlob, references, lease, cancellationToken);
        await _fetcher.LabelAsync(
            configBlob,
            new Dictionary<string, string> { ["containerd.io/gc.ref.snapshot." + client.Snapshotter] = image.Chain[^1] },
            lease,
            cancellationToken);
        await NameAsync(digest, manifest.MediaType is { Length: > 0 } type ? type : OciManifest, manifestJson.Length, lease, cancellationToken);
        return new UnpackedImage(digest, image.Chain[^1], image.Defaults);
    }

    private Task LayersAsync(ImageDescription image, ImageOrigin origin, string lease, CancellationToken cancellationToken) =>
        new LayerPipeline(_fetcher, _plain, _unpacker, image, origin, lease).RunAsync(cancellationToken);

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
