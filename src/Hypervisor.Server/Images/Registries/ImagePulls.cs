using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Images.Registries;

/// <summary>
/// Brings images to this server's disk, layers included and judged as an archive's are, so that they run without their
/// registry. One pull for all who ask for the same meanwhile.
/// </summary>
/// <param name="aliases">Null means that there are none.</param>
internal sealed class ImagePulls(
    ViewReads reads, BlobStore blobs, ImageResolution resolution, RemoteImages remote, RegistryDirectory directory, RegistryClient client,
    ImagesConfiguration limits, TimeProvider time, AliasImports? aliases = null) : IDisposable
{
    private readonly SharedWork<(string Project, string Reference, ImagePullPolicy Policy)> _pulls = new();
    private readonly SharedProgress _progress = new();
    private readonly SemaphoreSlim _places = new(limits.MaxConcurrentImports);

    /// <summary>Reports how far it is until it is done; the last report has the image.</summary>
    /// <exception cref="RpcException">INVALID_ARGUMENT, RESOURCE_EXHAUSTED, and what the registry answered.</exception>
    public async Task PullAsync(PullImageRequest request, Func<PullImageResponse, Task> report, CancellationToken cancellationToken)
    {
        var project = ImageRequests.Check(request.Project, aliases?.Resolve(request.Image) ?? request.Image, request.RequestId, nameRequired: true, "image", out var parsed);
        var reference = parsed!.Value;
        var policy = request.Policy == ImagePullPolicy.Unspecified ? ImagePullPolicy.Always : request.Policy;
        if (policy is not (ImagePullPolicy.Always or ImagePullPolicy.IfNotPresent))
        {
            throw ApiErrors.InvalidArgument("policy", "A pull asks the registry; write ALWAYS or IF_NOT_PRESENT.");
        }

        var name = reference.ToString();
        using var progress = _progress.Join((project, name, policy));
        using var leaving = new Deadline(Timeout.InfiniteTimeSpan, time, cancellationToken);
        var pulling = _pulls.RunAsync(
            (project, name, policy), shared => PullAsync(project, reference, policy, progress.Value, shared), leaving.Token);
        try
        {
            while (true)
            {
                await report(progress.Value.Shown(null));
                if (await Task.WhenAny(pulling, Task.Delay(Limits.Registries.ProgressInterval, time, leaving.Token)) == pulling)
                {
                    break;
                }
            }
        }
        catch
        {
            // Nobody listens any more: the pull ends with its last listener.
            leaving.Set(TimeSpan.Zero);
            await pulling.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await pulling;
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var entry = view.Image(project, name) ?? throw ApiErrors.NotFound("Image", project, name);
        await report(progress.Value.Shown(ImageRecords.Shown(entry.Record, entry.ModRevision, view.Incarnation)));
    }

    public void Dispose() => _places.Dispose();

    private async Task PullAsync(
        string project, ImageReference reference, ImagePullPolicy policy, PullProgress progress, CancellationToken cancellationToken)
    {
        var name = reference.ToString();
        if (!_places.Wait(TimeSpan.Zero, CancellationToken.None))
        {
            throw ApiErrors.ResourceExhausted($"{limits.MaxConcurrentImports} images are being pulled already; try again in a moment.", Limits.Images.RetryImport);
        }

        try
        {
            var present = (await reads.ViewAsync(Consistency.Linearizable, cancellationToken)).Image(project, name)?.Record.Image;
            if (policy == ImagePullPolicy.IfNotPresent && present is { Stored: true })
            {
                progress.Done($"{name} is stored already");
                return;
            }

            if (aliases?.DiskOf(reference) is { } disk)
            {
                await aliases.ImportAsync(project, disk, progress, cancellationToken);
                return;
            }

            progress.Status = $"looking {name} up";
            var source = directory.SourceOf(reference);
            var target = policy == ImagePullPolicy.IfNotPresent && present is not null ? present.Digest : reference.Target;
            var image = await remote.FindAsync(source, target, cancellationToken);
            using var lease = blobs.Lease();
            await FetchLayersAsync(source, image, progress, lease, cancellationToken);
            progress.Status = "checking layers";
            CheckLayers(image, cancellationToken);
            await resolution.RecordAsync(project, reference, source, image, stored: true, lease, cancellationToken);
            progress.Done($"stored {image.Digest}");
        }
        catch (RegistryException exception)
        {
            throw RegistryErrors.Translate(exception, name);
        }
        catch (InvalidImageException exception)
        {
            throw RegistryErrors.Invalid(exception.Message, name);
        }
        catch (ImageStorageException exception)
        {
            throw ApiErrors.ResourceExhausted(exception.Message, Limits.Images.RetryImport);
        }
        finally
        {
            _places.Release();
        }
    }

    private async Task FetchLayersAsync(RegistrySource source, RemoteImage image, PullProgress progress, BlobLease lease, CancellationToken cancellationToken)
    {
        var layers = image.Layers.DistinctBy(layer => layer.Digest).ToList();
        progress.Begin("fetching layers", image.SizeBytes, image.Manifest.Length + image.ConfigBytes.Length, layers.Count);
        using var slots = new SemaphoreSlim(Limits.Registries.ParallelLayers);
        await Together.AllAsync(layers, FetchAsync, cancellationToken);

        async Task FetchAsync(RemoteLayer layer, CancellationToken token)
        {
            await slots.WaitAsync(token);
            try
            {
                lease.Pin(layer.Digest);
                if (blobs.SizeOf(layer.Digest) == layer.Size)
                {
                    progress.Add(layer.Size);
                }
                else
                {
                    using var upload = blobs.BeginUpload();
                    await client.CopyBlobAsync(source, layer.Digest.Value, layer.Size, 0, Take, token);
                    upload.Commit(layer.Digest, lease);

                    ValueTask Take(ReadOnlyMemory<byte> piece, CancellationToken _)
                    {
                        upload.Write(piece.Span);
                        progress.Add(piece.Length);
                        return ValueTask.CompletedTask;
                    }
                }

                progress.LayerDone();
            }
            finally
            {
                slots.Release();
            }
        }
    }

    private void CheckLayers(RemoteImage image, CancellationToken cancellationToken)
    {
        var allowance = limits.MaxUnpackedBytes;
        Dictionary<ImageDigest, (ImageDigest DiffId, long Unpacked)> done = [];
        for (var index = 0; index < image.Layers.Count; index++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var layer = image.Layers[index];
            var what = $"Layer {index + 1} ({layer.Digest})";
            if (done.TryGetValue(layer.Digest, out var known))
            {
                LayerChecker.Repeat(known.Unpacked, what, ref allowance);
            }
            else
            {
                var before = allowance;
                var diffId = Check(layer, what, ref allowance, cancellationToken);
                done.Add(layer.Digest, known = (diffId, before - allowance));
            }

            if (known.DiffId != image.DiffIds[index])
            {
                throw new InvalidImageException($"{what} unpacks to {known.DiffId}, not to {image.DiffIds[index]} as the configuration says.");
            }
        }
    }

    private ImageDigest Check(RemoteLayer layer, string what, ref long allowance, CancellationToken cancellationToken)
    {
        using var file = blobs.OpenRead(layer.Digest) ?? throw new InvalidImageException($"{what} is gone from the server's disk; pull again.");
        using var content = new BoundedStream(file, 0, file.Length, cancellationToken);
        var head = new byte[Compression.MagicLength];
        var kind = Compression.Detect(head.AsSpan(0, content.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)));
        if (kind != layer.Compression)
        {
            throw new InvalidImageException($"{what} is compressed as {kind}, not {layer.Compression} as its media type says.");
        }

        content.Rewind();
        return LayerChecker.Check(content, kind, what, ref allowance);
    }
}
