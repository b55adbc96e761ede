using System.Net;
using System.Security.Cryptography;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Hosting.Registries;

/// <summary>A manifest or an index, as it was sent.</summary>
/// <param name="Digest">Of the content.</param>
/// <param name="MediaType">As the registry calls it.</param>
internal sealed record RegistryDocument(byte[] Content, string Digest, string MediaType);

/// <summary>
/// The pull side of the OCI distribution specification 1.1. Asks mirrors first, tries again what may get better, goes on where
/// a transfer was cut, and believes nothing that does not have the digest it should have.
/// </summary>
internal sealed class RegistryClient(TimeProvider time, IRandomSource random) : IDisposable
{
    public static readonly IReadOnlyList<string> ManifestTypes =
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ];

    private readonly RegistryCalls _calls = new(time);

    public void Dispose() => _calls.Dispose();

    /// <param name="target">A tag or a digest.</param>
    /// <exception cref="RegistryException"/>
    public Task<RegistryDocument> GetManifestAsync(RegistrySource source, string target, CancellationToken cancellationToken) =>
        TryEachAsync(source, async endpoint =>
        {
            using var deadline = new Deadline(RegistryLimits.Document, time, cancellationToken);
            using var response = await _calls.GetAsync(source, endpoint, "manifests/" + target, ManifestTypes, 0, deadline.Token);
            var content = await RegistryCalls.ReadAsync(endpoint, response, RegistryLimits.DocumentBytes, deadline.Token);
            var digest = DigestOf(content);
            var promised = target.Contains(':') ? target
                : response.Headers.TryGetValues("Docker-Content-Digest", out var values) && values.First() is { } header
                    && header.StartsWith("sha256:", StringComparison.Ordinal) ? header
                : digest;
            return promised == digest
                ? new RegistryDocument(content, digest, response.Content.Headers.ContentType?.MediaType ?? "")
                : throw OtherContent(endpoint, "manifest", promised, digest);
        }, cancellationToken);

    /// <summary>A configuration or another small blob, verified.</summary>
    /// <exception cref="RegistryException"/>
    public Task<byte[]> GetDocumentAsync(RegistrySource source, string digest, CancellationToken cancellationToken) =>
        TryEachAsync(source, async endpoint =>
        {
            using var deadline = new Deadline(RegistryLimits.Document, time, cancellationToken);
            using var response = await _calls.GetAsync(source, endpoint, "blobs/" + digest, [], 0, deadline.Token);
            var content = await RegistryCalls.ReadAsync(endpoint, response, RegistryLimits.DocumentBytes, deadline.Token);
            return DigestOf(content) == digest ? content : throw OtherContent(endpoint, "blob", digest, DigestOf(content));
        }, cancellationToken);

    /// <summary>Streams a blob from an offset to its end; the taker verifies the digest. Never more than its size, whatever is sent.</summary>
    /// <param name="size">Of the whole blob, from its descriptor.</param>
    /// <param name="take">Gets the bytes in order, and must be done with them when it returns.</param>
    /// <exception cref="RegistryException"/>
    public async Task CopyBlobAsync(
        RegistrySource source, string digest, long size, long offset, Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> take,
        CancellationToken cancellationToken)
    {
        var copy = new Copy(digest, size, take) { Position = offset };
        RegistryException? failure = null;
        var interruptions = 0;
        foreach (var endpoint in source.Endpoints)
        {
            for (var attempt = 1; copy.Position < size; attempt++)
            {
                var before = copy.Position;
                try
                {
                    await CopyOnceAsync(source, endpoint, copy, cancellationToken);
                }
                catch (RegistryException exception)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    failure = exception;
                    attempt = copy.Position > before && ++interruptions < RegistryLimits.Interruptions ? 0 : attempt;
                    if (!await MayTryAgainAsync(source, endpoint, exception, attempt, cancellationToken))
                    {
                        break;
                    }
                }
            }

            if (copy.Position == size)
            {
                return;
            }
        }

        throw failure!;
    }

    public static string DigestOf(ReadOnlySpan<byte> content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));

    private async Task CopyOnceAsync(RegistrySource source, RegistryHost endpoint, Copy copy, CancellationToken cancellationToken)
    {
        using var stalled = new Deadline(RegistryLimits.Stall, time, cancellationToken);
        using var response = await _calls.GetAsync(source, endpoint, "blobs/" + copy.Digest, [], copy.Position, stalled.Token);
        var skip = Check(endpoint, response, copy);
        var buffer = GC.AllocateUninitializedArray<byte>((int)Math.Min(RegistryLimits.PieceBytes, Math.Max(copy.Size - copy.Position, skip > 0 ? 64 << 10 : 1)));
        await using var body = await BodyAsync(endpoint, response, stalled.Token);
        while (copy.Position < copy.Size)
        {
            var wanted = (int)Math.Min(buffer.Length, skip > 0 ? skip : copy.Size - copy.Position);
            var count = await FillAsync(endpoint, body, buffer.AsMemory(0, wanted), stalled);
            if (skip > 0)
            {
                skip -= count;
            }
            else if (count > 0)
            {
                // What takes the bytes has its own deadlines: a slow disk is not a slow registry.
                stalled.Set(Timeout.InfiniteTimeSpan);
                await copy.Take(buffer.AsMemory(0, count), cancellationToken);
                copy.Position += count;
            }

            if (count < wanted)
            {
                throw new RegistryException(
                    RegistryFailure.Unavailable, $"Registry {endpoint} ended the transfer of blob {copy.Digest} after {copy.Position} of {copy.Size} bytes.");
            }
        }
    }

    /// <returns>Bytes to leave out, where the registry did not.</returns>
    private static long Check(RegistryHost endpoint, HttpResponseMessage response, Copy copy)
    {
        var partial = response.StatusCode == HttpStatusCode.PartialContent;
        var total = partial ? response.Content.Headers.ContentRange?.Length : response.Content.Headers.ContentLength;
        if ((total is { } length && length != copy.Size) || (partial && response.Content.Headers.ContentRange?.From != copy.Position))
        {
            throw new RegistryException(
                RegistryFailure.Invalid,
                $"Registry {endpoint} offers blob {copy.Digest} with {total?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "other"} bytes "
                + $"than the {copy.Size} that the manifest says.");
        }

        return partial ? 0 : copy.Position;
    }

    private static async Task<Stream> BodyAsync(RegistryHost endpoint, HttpResponseMessage response, CancellationToken deadline)
    {
        try
        {
            return await response.Content.ReadAsStreamAsync(deadline);
        }
        catch (Exception exception) when (RegistryCalls.IsConnectionFault(exception))
        {
            throw RegistryCalls.Explain(endpoint, exception);
        }
    }

    /// <summary>As much as there is; less only at the end, or when the connection broke: what came is kept.</summary>
    private static async Task<int> FillAsync(RegistryHost endpoint, Stream body, Memory<byte> buffer, Deadline stalled)
    {
        var filled = 0;
        try
        {
            while (filled < buffer.Length)
            {
                stalled.Set(RegistryLimits.Stall);
                var count = await body.ReadAsync(buffer[filled..], stalled.Token);
                if (count == 0)
                {
                    break;
                }

                filled += count;
            }
        }
        catch (OperationCanceledException exception) when (filled == 0)
        {
            throw RegistryCalls.Explain(endpoint, exception);
        }
        catch (Exception exception) when (RegistryCalls.IsConnectionFault(exception))
        {
            // Where it broke says more than how: who asked for more than came does.
        }

        return filled;
    }

    private async Task<T> TryEachAsync<T>(RegistrySource source, Func<RegistryHost, Task<T>> ask, CancellationToken cancellationToken)
    {
        RegistryException? failure = null;
        foreach (var endpoint in source.Endpoints)
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    return await ask(endpoint);
                }
                catch (RegistryException exception)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    failure = exception;
                    if (!await MayTryAgainAsync(source, endpoint, exception, attempt, cancellationToken))
                    {
                        break;
                    }
                }
            }
        }

        throw failure!;
    }

    /// <summary>Waits as long as the registry asks, or a little longer each time; false when there is no point.</summary>
    private async Task<bool> MayTryAgainAsync(
        RegistrySource source, RegistryHost endpoint, RegistryException failure, int attempt, CancellationToken cancellationToken)
    {
        var last = ReferenceEquals(endpoint, source.Endpoints[^1]);
        if (!failure.IsTransient || attempt >= (last ? RegistryLimits.Attempts : RegistryLimits.MirrorAttempts) || failure.RetryAfter > RegistryLimits.LongestWait)
        {
            return false;
        }

        var wait = Backoff.DelayAfter(Math.Max(attempt, 1), RegistryLimits.BackoffMinimum, RegistryLimits.BackoffMaximum, random.NextUnit());
        await Task.Delay(failure.RetryAfter is { } asked && asked > wait ? asked : wait, time, cancellationToken);
        return true;
    }

    private static RegistryException OtherContent(RegistryHost endpoint, string what, string promised, string found) => new(
        RegistryFailure.Invalid, $"Registry {endpoint} sends another {what} than it says: {DisplayText.Of(promised)} has the content of {found}.");

    private sealed class Copy(string digest, long size, Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> take)
    {
        public string Digest => digest;

        public long Size => size;

        public long Position { get; set; }

        public ValueTask Take(ReadOnlyMemory<byte> piece, CancellationToken cancellationToken) => take(piece, cancellationToken);
    }
}
