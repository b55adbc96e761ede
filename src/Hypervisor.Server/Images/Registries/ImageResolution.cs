using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Images.Disks;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Images.Registries;

/// <summary>
/// What a reference means, and where its blobs are. What the catalogue does not have is looked up at the registry, once for
/// all who ask meanwhile, and is in the catalogue from then on: manifest and configuration on this server's disk, layers at
/// the registry. Disk images of aliases are imported from where the alias says.
/// </summary>
/// <param name="aliases">Null means that there are none.</param>
internal sealed class ImageResolution(
    ViewReads reads, BlobStore blobs, ImageRecords records, RemoteImages remote, RegistryDirectory directory, ImagesConfiguration limits,
    TimeProvider time, AliasImports? aliases = null) : IDisposable
{
    private readonly SharedWork<(string Project, string Reference)> _lookups = new();
    private readonly SemaphoreSlim _places = new(Limits.Registries.Lookups);
    private readonly RecentFailures _failures = new(time);

    /// <exception cref="RpcException">INVALID_ARGUMENT, and what <see cref="RegistryErrors"/> makes of the registry's answer.</exception>
    public async Task<ResolveImageResponse> ResolveAsync(ResolveImageRequest request, CancellationToken cancellationToken)
    {
        var project = ImageRequests.Check(request.Project, request.Image, "", nameRequired: true, "image", out var parsed);
        var reference = parsed!.Value;
        if (request.Digest.Length > 0)
        {
            return ImageDigest.TryParse(request.Digest, out var wanted)
                ? Answer(await FindAsync(project, reference, cancellationToken), reference, wanted)
                : throw ApiErrors.InvalidArgument("digest", "Write sha256: and 64 lower-case hexadecimal digits.");
        }

        var entry = await FindAsync(project, reference, cancellationToken);
        var disk = aliases?.DiskOf(reference);
        if (entry is null || (request.PullPolicy == ImagePullPolicy.Always && (disk is not null || IsOci(entry))))
        {
            if (request.PullPolicy == ImagePullPolicy.Never)
            {
                throw ApiErrors.Error(
                    Google.Rpc.Code.NotFound,
                    $"Image '{reference}' is not in project '{project}', and image_pull_policy NEVER forbids to ask its registry; import or pull it.");
            }

            await _lookups.RunAsync((project, reference.ToString()), shared => LookUpAsync(project, reference, disk, shared), cancellationToken);
            entry = await FindAsync(project, reference, cancellationToken);
        }

        return entry is not null && ImageDigest.TryParse(entry.Record.Image.Digest, out var digest)
            ? Answer(entry, reference, digest)
            : throw ApiErrors.NotFound("Image", project, reference.ToString());
    }

    public void Dispose() => _places.Dispose();

    private async Task<ImageEntry?> FindAsync(string project, ImageReference reference, CancellationToken cancellationToken) =>
        (await reads.ViewAsync(Consistency.Linearizable, cancellationToken)).Image(project, reference.ToString());

    private ResolveImageResponse Answer(ImageEntry? entry, ImageReference reference, ImageDigest digest)
    {
        // A name may have got other content since: what the record says holds for its own digest only.
        var image = entry?.Record.Image is { } record && record.Digest == digest.Value ? record : null;
        var response = new ResolveImageResponse
        {
            Digest = digest.Value,
            Stored = image?.Stored ?? blobs.SizeOf(digest) is not null,
            Format = image is null ? FormatOf(digest) : image.Format == ImageFormat.Unspecified ? ImageFormat.Oci : image.Format,
        };
        if (image is null ? !response.Stored : image.Source.Length > 0)
        {
            response.Source = directory.ForAgent(reference);
            response.MaxUnpackedBytes = limits.MaxUnpackedBytes;
        }

        return response;
    }

    /// <summary>A disk image that was imported has no registry that could be asked for a newer one.</summary>
    private static bool IsOci(ImageEntry entry) => entry.Record.Image.Format is ImageFormat.Unspecified or ImageFormat.Oci;

    /// <summary>Of an image whose name means something else by now: what its manifest says, where this server has it.</summary>
    private ImageFormat FormatOf(ImageDigest digest)
    {
        using var stream = blobs.OpenRead(digest);
        if (stream is null || stream.Length > Limits.Images.JsonBytes)
        {
            return ImageFormat.Unspecified;
        }

        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        return DiskDocuments.FormatOf(OciJson.Parse(content, OciJson.Default.OciManifest, "The manifest"));
    }

    private async Task LookUpAsync(string project, ImageReference reference, AliasDisk? disk, CancellationToken cancellationToken)
    {
        if (disk is not null)
        {
            await aliases!.EnsureAsync(project, disk, cancellationToken);
            return;
        }

        var name = reference.ToString();
        _failures.ThrowIfRecent(name);
        using var deadline = new Deadline(Limits.Registries.Lookup, time, cancellationToken);
        try
        {
            await _places.WaitAsync(deadline.Token);
            try
            {
                var source = directory.SourceOf(reference);
                var image = await remote.FindAsync(source, reference.Target, deadline.Token);
                using var lease = blobs.Lease();
                await RecordAsync(project, reference, source, image, stored: false, lease, deadline.Token);
            }
            finally
            {
                _places.Release();
            }
        }
        catch (RegistryException exception)
        {
            throw _failures.Remember(name, RegistryErrors.Translate(exception, name));
        }
        catch (InvalidImageException exception)
        {
            throw _failures.Remember(name, RegistryErrors.Invalid(exception.Message, name));
        }
        catch (ImageStorageException exception)
        {
            throw ApiErrors.ResourceExhausted(exception.Message, Limits.Images.RetryImport);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw _failures.Remember(name, ApiErrors.Unavailable(
                $"Registry {reference.Registry} did not answer for {name} within {Limits.Registries.Lookup.TotalSeconds} s.", Limits.Registries.FailureRemembered));
        }
    }

    /// <summary>Keeps manifest and configuration, and gives the name its content.</summary>
    public Task<Image> RecordAsync(
        string project, ImageReference reference, RegistrySource source, RemoteImage image, bool stored, BlobLease lease, CancellationToken cancellationToken)
    {
        foreach (var blob in image.Blobs)
        {
            lease.Pin(blob);
        }

        foreach (var (content, digest) in new[] { (image.Manifest, image.Digest), (image.ConfigBytes, image.ConfigDigest) })
        {
            if (blobs.SizeOf(digest) is null)
            {
                using var upload = blobs.BeginUpload();
                upload.Write(content);
                upload.Commit(digest, lease);
            }
        }

        var verified = new VerifiedImage(reference, image.Digest, image.Config, image.Blobs, image.SizeBytes)
        {
            Source = $"{reference.Registry}/{source.Repository}",
            Stored = stored || image.Blobs.All(blob => blobs.SizeOf(blob) is not null),
        };
        return records.WriteAsync(project, reference, verified, "", cancellationToken);
    }
}
