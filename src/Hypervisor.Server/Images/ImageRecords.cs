using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Images.Archives;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;

namespace Hypervisor.Server.Images;

/// <summary>Writes image records, however the image came.</summary>
internal sealed class ImageRecords(
    ClusterState state, ViewReads reads, StoreWriter writer, BlobStore blobs, TimeProvider time, IRandomSource random) : IDisposable
{
    private readonly UncertainLeases _uncertain = new(state, time);

    /// <summary>As users see it.</summary>
    public static Image Shown(ImageRecord record, long revision, Incarnation incarnation)
    {
        var image = record.Image.Clone();
        if (image.Format == ImageFormat.Unspecified)
        {
            // Written before there was anything else.
            image.Format = ImageFormat.Oci;
            image.Types_.Clear();
            image.Types_.AddRange(ImageMetadata.TypesOf(ImageFormat.Oci));
        }

        image.Metadata = record.Metadata.Clone();
        image.Metadata.ResourceVersion = ResourceVersion.Of(incarnation, revision).Value;
        return image;
    }

    public void Dispose() => _uncertain.Dispose();

    /// <summary>
    /// Gives a name its content; what has it already stays as it is. A repeated request_id is recognised by name and content
    /// together. The caller holds the image's blobs until this returns.
    /// </summary>
    /// <exception cref="Grpc.Core.RpcException">ALREADY_EXISTS (request_id), ABORTED.</exception>
    public async Task<Image> WriteAsync(string project, ImageReference reference, VerifiedImage image, string requestId, CancellationToken cancellationToken)
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

        if (present is not null && (repeated is not null || IsSame(present.Record.Image, image)))
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
            : throw ApiErrors.Aborted("CONCURRENT_CHANGE", $"Image '{reference}' was changed at the same time; try again.");
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

    /// <summary>Blobs that came stay: an image that is stored does not become one that is not.</summary>
    private static bool IsSame(Image present, VerifiedImage image) =>
        present.Digest == image.Digest.Value && present.Source == image.Source && (present.Stored || !image.Stored);

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
                Source = image.Source,
                Stored = image.Stored,
                Format = image.Format,
                VirtualSizeBytes = image.VirtualSizeBytes,
            },
        };
        record.Metadata.Generation++;
        record.Image.Types_.AddRange(image.Types);
        record.Image.DefaultCommand.AddRange((image.Config.Config?.Entrypoint ?? []).Concat(image.Config.Config?.Cmd ?? []).OfType<string>());
        record.BlobDigests.AddRange(image.Blobs.Select(digest => digest.Value));
        if (present is not null)
        {
            record.Requests.AddRange(present.Requests);
        }

        return record;
    }

    private Timestamp Now() => Timestamp.FromDateTimeOffset(time.GetUtcNow());
}
