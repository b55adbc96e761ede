using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Images;

/// <summary>The images of all projects: records in the store, blobs on this server's disk.</summary>
internal sealed class ImageCatalogue(
    ClusterState state,
    ViewReads reads,
    StoreWriter writer,
    BlobStore blobs,
    ImageCollector collector,
    ImagesConfiguration limits,
    TimeProvider time,
    IRandomSource random) : IDisposable
{
    private const string Kind = "Image";

    private readonly ArchiveImporter _importer = new(blobs, limits, time);
    private readonly SemaphoreSlim _places = new(limits.MaxConcurrentImports);
    private readonly RecentDeletions _deletions = new(Limits.Images.RememberedDeletions);
    private readonly UncertainLeases _uncertain = new(state, time);

    /// <summary>
    /// Takes an archive into a project. What is there under the name already gets the new content; importing what is there
    /// changes nothing. A repeated request_id is recognised by name and content together.
    /// </summary>
    /// <exception cref="Grpc.Core.RpcException">INVALID_ARGUMENT, RESOURCE_EXHAUSTED, ALREADY_EXISTS (request_id), ABORTED.</exception>
    public async Task<Image> ImportAsync(ImportImageHeader header, IAsyncEnumerable<ReadOnlyMemory<byte>> archive, CancellationToken cancellationToken)
    {
        var project = Validate(header.Project, header.Name, header.RequestId, nameRequired: false, "name", out var wanted);
        if (!_places.Wait(TimeSpan.Zero, CancellationToken.None))
        {
            throw ApiErrors.ResourceExhausted($"{limits.MaxConcurrentImports} images are being imported already; try again in a moment.", Limits.Images.RetryImport);
        }

        try
        {
            using var lease = blobs.Lease();
            var verified = await _importer.ImportAsync(archive, wanted, lease, cancellationToken);
            var reference = wanted ?? verified.Name ?? throw ApiErrors.InvalidArgument("name", "The archive names no image, or several; " + ImageReference.Rule + ".");
            return await RecordAsync(project, reference, verified, header.RequestId, cancellationToken);
        }
        catch (InvalidImageException exception)
        {
            throw ApiErrors.InvalidArgument("archive", exception.Message);
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

        violations.ThrowIfAny();
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
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
        response.Images.AddRange(page.Take(size).Select(entry => Shown(entry.Record, entry.ModRevision, view.Incarnation)));
        return response;
    }

    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND; FAILED_PRECONDITION while an instance uses it; ABORTED.</exception>
    public async Task<DeleteImageResponse> DeleteAsync(DeleteImageRequest request, CancellationToken cancellationToken)
    {
        var project = Validate(request.Project, request.Image, request.RequestId, nameRequired: true, "image", out var reference);
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

    /// <summary>The manifest that a reference means now.</summary>
    /// <exception cref="Grpc.Core.RpcException">NOT_FOUND, INVALID_ARGUMENT.</exception>
    public async Task<ImageDigest> ResolveAsync(string project, string image, CancellationToken cancellationToken)
    {
        project = Validate(project, image, "", nameRequired: true, "image", out var reference);
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        return view.Image(project, reference!.Value.ToString()) is { } entry && ImageDigest.TryParse(entry.Record.Image.Digest, out var digest)
            ? digest
            : throw ApiErrors.NotFound(Kind, project, reference.Value.ToString());
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

    public void Dispose()
    {
        _uncertain.Dispose();
        _places.Dispose();
    }

    private async Task<Image> RecordAsync(string project, ImageReference reference, VerifiedImage image, string requestId, CancellationToken cancellationToken)
    {
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        var key = Keys.Image(project, reference.ToString());
        var present = view.Image(project, reference.ToString());
        var request = SHA256.HashData(Encoding.UTF8.GetBytes($"{project}/{reference}@{image.Digest}"));
        var repeated = present?.Record.Requests.FirstOrDefault(record => requestId.Length > 0 && record.RequestId == requestId);
        if (repeated is not null && !repeated.Digest.Span.SequenceEqual(request))
        {
            throw ApiErrors.RequestIdReused(requestId);
        }

        if (present is not null && (repeated is not null || present.Record.Image.Digest == image.Digest.Value))
        {
            return Shown(present.Record, present.ModRevision, view.Incarnation);
        }

        var record = Record(project, reference, image, present?.Record);
        if (requestId.Length > 0)
        {
            record.Requests.Add(new RequestRecord { RequestId = requestId, Digest = ByteString.CopyFrom(request), At = Now() });
            while (record.Requests.Count > Limits.Images.RememberedRequests)
            {
                record.Requests.RemoveAt(0);
            }
        }

        var compare = present is null ? Compare.Absent(key) : Compare.Modified(key, present.ModRevision);
        cancellationToken.ThrowIfCancellationRequested();
        var result = await CommitAsync(new([compare], [new StoreOperation.Put(key, record.ToByteArray())]), image.Blobs);
        return result.Succeeded
            ? Shown(record, result.Revision, state.Incarnation)
            : throw ApiErrors.Aborted("CONCURRENT_CHANGE", $"Image '{reference}' was changed at the same time; import it again.");
    }

    /// <summary>
    /// Writes a record and returns when the view shows what became of it; until then its blobs stay, and where that cannot be
    /// learned, until it must have shown. Not cancelled with the client: a write that was handed over may be committed all the same.
    /// </summary>
    private async Task<WriteResult> CommitAsync(StoreWrite write, IEnumerable<ImageDigest> digests)
    {
        var lease = blobs.Lease();
        foreach (var digest in digests)
        {
            lease.Pin(digest);
        }

        var known = false;
        try
        {
            var result = await writer.WriteAsync(write, CancellationToken.None);
            await reads.IncludingAsync(result.Revision, CancellationToken.None);
            known = true;
            return result;
        }
        catch (StoreBusyException)
        {
            known = true;
            throw;
        }
        finally
        {
            if (known)
            {
                lease.Dispose();
            }
            else
            {
                _uncertain.Keep(lease);
            }
        }
    }

    private ImageRecord Record(string project, ImageReference reference, VerifiedImage image, ImageRecord? present)
    {
        var record = new ImageRecord
        {
            Metadata = present?.Metadata.Clone() ?? new ObjectMeta { Name = reference.ToString(), Project = project, Uid = random.NewUid(), CreatedAt = Now() },
            Image = new Image
            {
                Digest = image.Digest.Value,
                SizeBytes = image.SizeBytes,
                Architecture = image.Config.Architecture ?? "",
                OperatingSystem = image.Config.Os ?? "",
                DefaultUser = image.Config.Config?.User ?? "",
            },
        };
        record.Metadata.Generation++;
        record.Image.Types_.Add(InstanceType.Container);
        record.Image.DefaultCommand.AddRange((image.Config.Config?.Entrypoint ?? []).Concat(image.Config.Config?.Cmd ?? []).OfType<string>());
        record.BlobDigests.AddRange(image.Blobs.Select(digest => digest.Value));
        if (present is not null)
        {
            record.Requests.AddRange(present.Requests);
        }

        return record;
    }

    private Timestamp Now() => Timestamp.FromDateTimeOffset(time.GetUtcNow());

    private static Image Shown(ImageRecord record, long revision, Incarnation incarnation)
    {
        var image = record.Image.Clone();
        image.Metadata = record.Metadata.Clone();
        image.Metadata.ResourceVersion = ResourceVersion.Of(incarnation, revision).Value;
        return image;
    }

    private static string Validate(string project, string name, string requestId, bool nameRequired, string nameField, out ImageReference? reference)
    {
        var violations = new FieldViolations();
        project = Projects.Resolve(project, violations);
        reference = null;
        if (ImageReference.TryParse(name, out var parsed))
        {
            reference = parsed;
        }
        else if (name.Length > 0 || nameRequired)
        {
            violations.Add(nameField, $"\"{Hosting.Yaml.DisplayText.Of(name)}\" is not the name of an image; {ImageReference.Rule}.");
        }

        RequestChecks.CheckRequestId(requestId, violations);
        violations.ThrowIfAny();
        return project;
    }
}
