using Containerd.Services.Content.V1;
using Google.Protobuf.Collections;
using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Images;

/// <summary>A blob that is wanted.</summary>
/// <param name="Size">From its descriptor; 0 for a manifest, which nothing describes.</param>
internal sealed record WantedBlob(string Digest, long Size, ImageOrigin Origin);

/// <summary>Brings blobs from their registry or the control plane into containerd's content store, which checks their digests.</summary>
/// <remarks>
/// An interrupted transfer goes on where it stopped, also after a restart of the agent or of containerd: containerd keeps
/// what was written under the blob's reference while the lease lives.
/// </remarks>
internal sealed class BlobFetcher(ContainerdClient client, IControlPlane controlPlane, RegistryClient registries, TimeProvider time)
{
    private static readonly IReadOnlyDictionary<string, string> NoLabels = new Dictionary<string, string>();

    private readonly SharedWork<string> _transfers = new();

    /// <summary>One transfer for all images that want the blob meanwhile; each of them gets it under its own lease.</summary>
    /// <exception cref="DriverException">
    /// ImageNotFound, ImageInvalid, ImageUnauthorized, ImageUnavailable, RegistryNotTrusted, DiskFull, RuntimeUnavailable.
    /// </exception>
    public async Task FetchAsync(WantedBlob blob, string lease, CancellationToken cancellationToken)
    {
        var own = false;
        await _transfers.RunAsync(
            blob.Digest,
            shared =>
            {
                own = true;
                return FetchAsync(blob, NoLabels, lease, shared);
            },
            cancellationToken);
        if (!own)
        {
            // It is there: this only takes it under the lease.
            await FetchAsync(blob, NoLabels, lease, cancellationToken);
        }
    }

    /// <summary>Of a blob that is there: what it refers to stays while it does.</summary>
    public Task LabelAsync(WantedBlob blob, IReadOnlyDictionary<string, string> labels, string lease, CancellationToken cancellationToken) =>
        FetchAsync(blob, labels, lease, cancellationToken);

    private async Task FetchAsync(WantedBlob blob, IReadOnlyDictionary<string, string> labels, string lease, CancellationToken cancellationToken)
    {
        var (digest, origin) = (blob.Digest, blob.Origin);
        var mismatches = 0;
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await FetchOnceAsync(blob, labels, lease, cancellationToken);
                return;
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.AlreadyExists)
            {
                await LabelAsync(digest, labels, lease, cancellationToken);
                return;
            }
            catch (RpcException error) when (cancellationToken.IsCancellationRequested)
            {
                throw new OperationCanceledException(error.Message, error, cancellationToken);
            }
            catch (RegistryException error)
            {
                // The client has tried what may get better. The control plane may have the blob all the same, then at once.
                origin.GiveUpRegistry(error);
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
            {
                throw origin.Failure is { } failure
                    ? ImageOrigin.Explain(failure)
                    : new DriverException("ImageNotFound", $"the control plane no longer has the blob {digest} of the image", permanent: true, error);
            }
            catch (InvalidDataException error)
            {
                await AbortAsync(digest, cancellationToken);
                if (++mismatches > 1)
                {
                    throw new DriverException("ImageInvalid", error.Message, permanent: true, error);
                }
            }
            catch (RpcException error) when (attempt < ContainerdLimits.FetchAttempts && IsTransient(error))
            {
                await Task.Delay(ContainerdLimits.FetchBackoff * attempt, time, cancellationToken);
            }
            catch (RpcException error) when (IsTransient(error))
            {
                throw new DriverException(
                    "ImageUnavailable", $"the blob {digest} could not be fetched: {origin.Failure?.Message ?? error.Status.Detail}", permanent: false, error);
            }
        }
    }

    private static bool IsTransient(RpcException error) => error.StatusCode is StatusCode.Unavailable or StatusCode.Internal
        or StatusCode.Unknown or StatusCode.Aborted or StatusCode.ResourceExhausted or StatusCode.DeadlineExceeded
        && !error.Status.Detail.Contains("no space left", StringComparison.Ordinal);

    private static string ReferenceOf(string digest) => "hypervisor-" + digest[7..];

    private async Task FetchOnceAsync(
        WantedBlob blob, IReadOnlyDictionary<string, string> labels, string lease, CancellationToken cancellationToken)
    {
        var digest = blob.Digest;
        await using var write = new ContentWrite(client, time, ReferenceOf(digest), digest, lease, cancellationToken);
        try
        {
            await write.BeginAsync();
            var total = blob.Origin.Registry is { } source
                ? await CopyFromRegistryAsync(source, blob, write)
                : await CopyFromControlPlaneAsync(digest, write);
            if (write.Offset < total)
            {
                throw new RpcException(new Status(StatusCode.Unavailable, $"the transfer ended after {write.Offset} of {total} bytes"));
            }

            await write.CommitAsync(total, labels);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, "the transfer stalled"));
        }
    }

    private async Task<long> CopyFromRegistryAsync(RegistrySource source, WantedBlob blob, ContentWrite write)
    {
        if (blob.Size > 0)
        {
            await registries.CopyBlobAsync(source, blob.Digest, blob.Size, write.Offset, (data, _) => write.AppendAsync(data), write.Ended.Token);
            return blob.Size;
        }

        var manifest = await registries.GetManifestAsync(source, blob.Digest, write.Ended.Token);
        await write.AppendAsync(manifest.Content.AsMemory((int)Math.Min(write.Offset, manifest.Content.Length)));
        return manifest.Content.Length;
    }

    private async Task<long> CopyFromControlPlaneAsync(string digest, ContentWrite write)
    {
        var total = 0L;
        await foreach (var part in WithStallDeadline(digest, write.Offset, write.Ended))
        {
            total = Math.Max(total, part.TotalBytes);
            if (part.Data.Length == 0)
            {
                continue;
            }

            await write.AppendAsync(part.Data.Memory);
            if (total > 0 && write.Offset > total)
            {
                throw new InvalidDataException($"the blob {digest} is longer than the {total} bytes announced");
            }
        }

        return total;
    }

    private async IAsyncEnumerable<FetchBlobResponse> WithStallDeadline(string digest, long offset, CancellationTokenSource ended)
    {
        using var stalled = time.CreateTimer(state => ((CancellationTokenSource)state!).Cancel(), ended, ContainerdLimits.FetchStall, Timeout.InfiniteTimeSpan);
        var request = new FetchBlobRequest { Digest = digest, Offset = offset };
        await foreach (var part in controlPlane.FetchBlobAsync(request, ended.Token).WithCancellation(ended.Token))
        {
            stalled.Change(ContainerdLimits.FetchStall, Timeout.InfiniteTimeSpan);
            yield return part;
        }
    }

    /// <summary>Present already, perhaps from another image: what it refers to has to be kept all the same.</summary>
    private async Task LabelAsync(
        string digest, IReadOnlyDictionary<string, string> labels, string lease, CancellationToken cancellationToken)
    {
        if (labels.Count == 0)
        {
            return;
        }

        var update = new UpdateRequest { Info = new Info { Digest = digest }, UpdateMask = new() };
        Copy(labels, update.Info.Labels);
        update.UpdateMask.Paths.AddRange(labels.Keys.Select(key => "labels." + key));
        await client.Content.UpdateAsync(update, client.Call(ContainerdLimits.Metadata, cancellationToken, lease));
    }

    private async Task AbortAsync(string digest, CancellationToken cancellationToken)
    {
        try
        {
            await client.Content.AbortAsync(new AbortRequest { Ref = ReferenceOf(digest) }, client.Call(cancellationToken));
        }
        catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
        {
            // containerd gave it up by itself.
        }
    }

    private static void Copy(IReadOnlyDictionary<string, string> from, MapField<string, string> to)
    {
        foreach (var (key, value) in from)
        {
            to[key] = value;
        }
    }
}
