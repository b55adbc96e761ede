using Grpc.Core;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Configuration;
using Hypervisor.Server.Images.Blobs;
using Hypervisor.Server.Images.Registries;

namespace Hypervisor.Server.Images.Downloads;

/// <summary>Imports what a URL names: fetched by the server, and judged as an upload is while it arrives.</summary>
internal sealed class UrlImports(ImageCatalogue catalogue, ImageDownloads downloads, BlobStore blobs, ImagesConfiguration limits, TimeProvider time)
{
    /// <summary>Reports how far it is until it is done; the last report has the image. Ends with its listener.</summary>
    /// <exception cref="RpcException">INVALID_ARGUMENT, and what the other side answered.</exception>
    public async Task ImportAsync(
        ImportImageFromUrlRequest request, Func<ImportImageFromUrlResponse, Task> report, CancellationToken cancellationToken)
    {
        var header = request.Image ?? new();
        var address = Check(request.Url, header);
        var progress = new PullProgress();
        using var leaving = new Deadline(Timeout.InfiniteTimeSpan, time, cancellationToken);
        var importing = ImportAsync(header, address, progress, leaving.Token);
        try
        {
            while (true)
            {
                await report(Shown(progress, null));
                if (await Task.WhenAny(importing, Task.Delay(Limits.Registries.ProgressInterval, time, leaving.Token)) == importing)
                {
                    break;
                }
            }
        }
        catch
        {
            leaving.Set(TimeSpan.Zero);
            await ((Task)importing).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await report(Shown(progress, await importing));
    }

    /// <summary>One import of a checked header.</summary>
    /// <exception cref="RpcException"/>
    public async Task<Image> ImportAsync(ImportImageHeader header, Uri address, PullProgress progress, CancellationToken cancellationToken)
    {
        progress.Status = $"asking {address.Authority}";
        try
        {
            var image = await catalogue.ImportAsync(header, PiecesAsync(address, progress, cancellationToken), cancellationToken, field: "url");
            progress.Done($"stored {image.Digest}");
            return image;
        }
        catch (RegistryException exception)
        {
            throw RegistryErrors.Translate(exception, header.Name);
        }
    }

    private static ImportImageFromUrlResponse Shown(PullProgress progress, Image? image)
    {
        var shown = progress.Shown(image);
        return new() { Status = shown.Status, BytesDone = shown.BytesDone, BytesTotal = shown.BytesTotal, Image = shown.Image };
    }

    private Uri Check(string url, ImportImageHeader header)
    {
        var violations = new FieldViolations();
        if (!ImageDownloads.TryParse(url, out var address))
        {
            violations.Add("url", $"\"{DisplayText.Of(url)}\" is not a web address; write http:// or https://, a host and a path, without user name or spaces.");
        }

        if (header.Checksum.Length == 0)
        {
            violations.Add("image.checksum", $"is required: the address alone does not say what comes from it; {ContentChecksum.Rule}.");
        }

        if (header.Format == ImageFormat.Kernel)
        {
            violations.Add("image.format", "A kernel set has three files; upload them with ImportImage.");
        }

        ImageMetadata.Of(header, limits, "image.", violations);
        ImageRequests.Check(header.Project, header.Name, header.RequestId, nameRequired: true, "image.name", out _, violations);
        return address;
    }

    private async IAsyncEnumerable<ReadOnlyMemory<byte>> PiecesAsync(
        Uri address, PullProgress progress, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var piece in downloads.ReadAsync(address, Began, cancellationToken))
        {
            progress.Add(piece.Length);
            yield return piece;
        }

        progress.Status = "checking";

        void Began(long? length)
        {
            if (length > limits.MaxArchiveBytes)
            {
                throw new InvalidImageException($"The file has {length} bytes; the server's images.max_archive_size takes {limits.MaxArchiveBytes}.");
            }

            blobs.RequireRoom(length ?? 0);
            progress.Begin($"fetching from {address.Authority}", length ?? 0, 0, 1);
        }
    }
}
