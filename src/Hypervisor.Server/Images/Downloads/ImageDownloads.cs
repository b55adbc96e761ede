using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Server.Images.Downloads;

/// <summary>
/// Files from web servers, on a user's word: only from public addresses, judged when they are connected to and at every redirect,
/// or from hosts that an operator named. Nothing of ours is sent along.
/// </summary>
/// <param name="known">Hosts that an operator named; only a user or another of them may lead to one.</param>
internal sealed class ImageDownloads(IReadOnlyList<RegistryHost> known, TimeProvider time) : IDisposable
{
    private readonly RegistryConnections _connections = new("an operator names it under images.import_hosts in the server's configuration");

    /// <summary>What a URL may be that a user writes.</summary>
    public static bool TryParse(string text, out Uri address)
    {
        var valid = text.Length <= Limits.Disks.UrlCharacters && !text.Any(character => character is <= ' ' or > '~' or '\\')
            && Uri.TryCreate(text, UriKind.Absolute, out var uri) && IsWeb(uri);
        address = valid ? new Uri(text) : new Uri("http://invalid");
        return valid;
    }

    /// <summary>
    /// The file in pieces, each valid until the next is asked for. Goes on where it was cut. The taker verifies it, and bounds it:
    /// a server may send more than it says.
    /// </summary>
    /// <param name="began">Told the length of it before the first piece, where the server says it; throws to refuse it.</param>
    /// <exception cref="RegistryException"/>
    public async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(
        Uri address, Action<long?> began, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await using var transfer = new Transfer(address, (offset, token) => OpenAsync(address, offset, encrypted: false, token), began, time);
        var buffer = new byte[Limits.Disks.BlockBytes * 4];
        while (await transfer.ReadAsync(buffer, cancellationToken) is > 0 and var count)
        {
            yield return buffer.AsMemory(0, count);
        }
    }

    /// <summary>A small text over an encrypted connection, or from a host that an operator named: it is believed.</summary>
    /// <exception cref="RegistryException"/>
    public async Task<string> ReadTextAsync(Uri address, CancellationToken cancellationToken)
    {
        using var deadline = new Deadline(RegistryLimits.Document, time, cancellationToken);
        using var response = await OpenAsync(address, 0, encrypted: true, deadline.Token);
        var content = await RegistryCalls.ReadAsync(HostOf(address, by: null), response, Limits.Disks.ChecksumsBytes, deadline.Token);
        return System.Text.Encoding.UTF8.GetString(content);
    }

    public void Dispose() => _connections.Dispose();

    private static bool IsWeb(Uri address) => address.Scheme is "http" or "https" && address.UserInfo.Length == 0 && address.Host.Length > 0;

    /// <returns>200 or 206.</returns>
    private async Task<HttpResponseMessage> OpenAsync(Uri address, long offset, bool encrypted, CancellationToken cancellationToken)
    {
        var host = HostOf(address, by: null);
        for (var hops = 0; ; hops++)
        {
            if (encrypted && address.Scheme != "https" && !host.Trusted)
            {
                throw new RegistryException(
                    RegistryFailure.Refused, $"{host} would send checksums without encryption, where anyone could change them; write https:// or name the checksum itself.");
            }

            var response = await SendAsync(host, address, offset, cancellationToken);
            if (response.StatusCode is HttpStatusCode.OK or HttpStatusCode.PartialContent)
            {
                return response;
            }

            using (response)
            {
                if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308))
                {
                    throw Refusal(host, response);
                }

                var target = response.Headers.Location is { } location ? new Uri(address, location) : null;
                if (hops == Limits.Disks.Redirects || target is null)
                {
                    throw new RegistryException(RegistryFailure.Invalid, $"{host} refers to too many other places, or to none.");
                }

                if (!IsWeb(target))
                {
                    throw new RegistryException(
                        RegistryFailure.Refused, $"{host} refers to something else than a plain web address ({DisplayText.Of(target.Scheme)}).");
                }

                (host, address) = (HostOf(target, host), target);
            }
        }
    }

    /// <summary>Who was named by an operator is trusted only where a user or another of them says so: others would choose what we ask in the operator's network.</summary>
    private RegistryHost HostOf(Uri address, RegistryHost? by)
    {
        var named = by is null or { Trusted: true }
            ? known.FirstOrDefault(host => host.Name == address.Authority || host.Name == $"{address.Host}:{address.Port}")
            : null;
        return (named ?? new RegistryHost(address.Authority)) with { PlainHttp = address.Scheme == "http", Username = "", Password = default };
    }

    private async Task<HttpResponseMessage> SendAsync(RegistryHost host, Uri address, long offset, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        request.Headers.UserAgent.Add(new ProductInfoHeaderValue("hypervisor", null));
        if (offset > 0)
        {
            request.Headers.Range = new RangeHeaderValue(offset, null);
        }

        try
        {
            return await _connections.SendAsync(host, request, cancellationToken);
        }
        catch (Exception exception) when (RegistryCalls.IsConnectionFault(exception))
        {
            throw Transfer.Explain(host.Name, exception);
        }
    }

    private RegistryException Refusal(RegistryHost host, HttpResponseMessage response)
    {
        var wait = response.Headers.RetryAfter is { } after ? after.Delta ?? after.Date - time.GetUtcNow() : null;
        var status = (int)response.StatusCode;
        return status switch
        {
            401 or 403 => new(RegistryFailure.Unauthorized, $"{host} does not let us read the file (status {status}); no credentials are sent."),
            404 or 410 => new(RegistryFailure.NotFound, $"{host} has no such file (status {status}); correct the URL."),
            429 => new(RegistryFailure.RateLimited, $"{host} is asked too often.") { RetryAfter = wait },
            >= 500 => new(RegistryFailure.Unavailable, $"{host} cannot answer (status {status}).") { RetryAfter = wait },
            _ => new(RegistryFailure.Invalid, $"{host} answers status {status}."),
        };
    }
}
