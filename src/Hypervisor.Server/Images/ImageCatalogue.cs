using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Images;

/// <summary>The images of all projects: records in the store, blobs on this server's disk.</summary>
internal sealed class ImageCatalogue(
    ViewReads reads,
    StoreWriter writer,
    BlobStore blobs,
    ImageCollector collector,
    ImageRecords records,
    ImagesConfiguration limits,
    TimeProvider time) : IDisposable
{
    private const string Kind = "Image";

    private readonly ImageReception _reception = new(blobs, limits, time);
    private readonly SemaphoreSlim _places = new(limits.MaxConcurrentImports);
    private readonly RecentDeletions _deletions = new(Limits.Images.RememberedDeletions);

    /// <summary>
    /// Takes an archive, a disk image or a kernel set into a project. What is there under the name already gets the new content;
    /// importing what is there changes nothing. A repeated request_id is recognised by name and content together.
    /// </summary>
    /// <param name="field">Which field of the request the content came from, for what is wrong with it.</param>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ALREADY_EXISTS (request_id), ABORTED.</exception>
    public async Task<Image> ImportAsync(
        ImportImageHeader header, IAsyncEnumerable<ReadOnlyMemory<byte>> content, CancellationToken cancellationToken, string field = "archive")
    {
        var violations = new FieldViolations();
        var metadata = ImageMetadata.Of(header, limits, "", violations);
        var project = ImageRequests.Check(header.Project, header.Name, header.RequestId, nameRequired: false, "name", out var wanted, violations);
        if (!_places.Wait(TimeSpan.Zero, CancellationToken.None))
        {
            throw ApiErrors.ResourceExhausted($"{limits.MaxConcurrentImports} images are being imported already; try again in a moment.", Limits.Images.RetryImport);
        }

        try
        {
            using var lease = blobs.Lease();
            blobs.RequireRoom(header.SizeBytes);
            var verified = await _reception.ReceiveAsync(content, metadata, wanted, lease, cancellationToken);
            var reference = wanted ?? verified.Name ?? throw ApiErrors.InvalidArgument(
                "name", (verified.Format == ImageFormat.Oci ? "The archive names no image, or several; " : "A disk image or kernel set has no name of its own; ") + ImageReference.Rule + ".");
            return reference.Digest.Length == 0
                ? await records.WriteAsync(project, reference, verified, header.RequestId, cancellationToken)
                : throw ApiErrors.InvalidArgument("name", "What is imported decides on its digest itself; leave it out of the name.");
        }
        catch (InvalidImageException exception)
        {
            // Parts of it may have been whole.
            collector.Collect();
            throw ApiErrors.InvalidArgument(field, exception.Message);
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

    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT, NOT_FOUND.</exception>
    public async Task<Image> GetAsync(GetImageRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        RequestChecks.CheckConsistency(request.Consistency, violations);
        var project = ImageRequests.Check(request.Project, request.Image, "", nameRequired: true, "image", out var reference, violations);
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        return view.Image(project, reference!.Value.ToString()) is { } entry
            ? ImageRecords.Shown(entry.Record, entry.ModRevision, view.Incarnation)
            : throw ApiErrors.NotFound(Kind, project, reference.Value.ToString());
    }

    /// <summary>Images of a project by reference.</summary>
    public async Task<ListImagesResponse> ListAsync(ListImagesRequest request, CancellationToken cancellationToken)
    {
        var violations = new FieldViolations();
        var project = Projects.Resolve(request.Project, violations);
        if (request.PageSize is < 0 or > Limits.Images.MaxPageSize)
        {
            violations.Add("page_size", $"{request.PageSize} is out of range; 1-{Limits.Images.MaxPageSize}, or 0 for {Limits.Images.DefaultPageSize}.");
        }

        if (request.PageToken.Length > 0 && !ImageReference.TryParse(request.PageToken, out _))
        {
            violations.Add("page_token", "This is not a token from an earlier answer; begin without one.");
        }

        RequestChecks.CheckConsistency(request.Consistency, violations);
        violations.ThrowIfAny();
        var view = await reads.ViewAsync(request.Consistency, cancellationToken);
        var size = request.PageSize == 0 ? Limits.Images.DefaultPageSize : request.PageSize;
        var page = view.ImagesOf(project)
            .Where(entry => request.PageToken.Length == 0 || string.CompareOrdinal(entry.Reference, request.PageToken) > 0)
            .Take(size + 1)
            .ToList();
        var response = new ListImagesResponse
        {
            List = new ListMeta
            {
                ResourceVersion = ResourceVersion.Of(view.Incarnation, view.Revision).Value,
                NextPageToken = page.Count > size ? page[size - 1].Reference : "",
            },
        };
        if (request.Consistency == Consistency.Stale)
        {
            response.List.Age = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(reads.Age);
        }

        response.Images.AddRange(page.Take(size).Select(entry => ImageRecords.Shown(entry.Record, entry.ModRevision, view.Incarnation)));
        return response;
    }

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND; FAILED_PRECONDITION while an instance uses it; ABORTED.</exception>
    public async Task<DeleteImageResponse> DeleteAsync(DeleteImageRequest request, CancellationToken cancellationToken)
    {
        var project = ImageRequests.Check(request.Project, request.Image, request.RequestId, nameRequired: true, "image", out var reference);
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        if (view.Image(project, reference!.Value.ToString()) is not { } entry)
        {
            return _deletions.Contains(project, request.RequestId, reference.Value.ToString())
                ? new DeleteImageResponse()
                : throw ApiErrors.NotFound(Kind, project, reference.Value.ToString());
        }

        var users = view.InstancesOf(project)
            .Where(instance => !instance.Deleting && ImageReference.TryParse(instance.Spec.Image, out var used) && used == reference)
            .Select(instance => instance.Name)
            .Take(4)
            .ToList();
        if (users.Count > 0)
        {
            throw ApiErrors.FailedPrecondition(
                "IMAGE_IN_USE",
                $"Image '{reference}' is used by {string.Join(", ", users.Take(3))}{(users.Count > 3 ? " and others" : "")}; delete them first.",
                Kind, reference.Value.ToString());
        }

        var key = Keys.Image(project, entry.Reference);
        var result = await writer.WriteAsync(new([Compare.Modified(key, entry.ModRevision)], [new StoreOperation.Delete(key)]), cancellationToken);
        if (!result.Succeeded)
        {
            throw ApiErrors.Aborted("CONCURRENT_CHANGE", $"Image '{reference}' was changed at the same time; look at it again.");
        }

        _deletions.Add(project, request.RequestId, reference.Value.ToString());
        await reads.IncludingAsync(result.Revision, cancellationToken);
        collector.Collect();
        return new DeleteImageResponse();
    }

    /// <summary>A blob from an offset on.</summary>
    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND, INVALID_ARGUMENT, OUT_OF_RANGE.</exception>
    public FileStream Fetch(string digestText, long offset)
    {
        if (!ImageDigest.TryParse(digestText, out var digest))
        {
            throw ApiErrors.InvalidArgument("digest", "Write sha256: and 64 lower-case hexadecimal digits.");
        }

        var stream = blobs.OpenRead(digest) ?? throw ApiErrors.NotFound("Blob", "", digest.Value);
        if (offset < 0 || offset > stream.Length)
        {
            using var _ = stream;
            throw ApiErrors.OutOfRange("OFFSET", $"offset {offset} is outside the blob of {stream.Length} bytes.");
        }

        stream.Position = offset;
        return stream;
    }

    public void Dispose() => _places.Dispose();
}
