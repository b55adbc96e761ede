using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using System.Text.Json;
using Hypervisor.Hosting.Yaml;

namespace Hypervisor.Hosting.Registries;

/// <summary>One question to one endpoint: authorises it, follows what the endpoint refers to, and puts a refusal into words.</summary>
internal sealed class RegistryCalls(TimeProvider time) : IDisposable
{
    private readonly RegistryConnections _connections = new();
    private readonly RegistryTokens _tokens = new(time);

    public void Dispose() => _connections.Dispose();

    /// <summary>The answer's head; only 200 and 206 come back.</summary>
    /// <param name="path">Below the repository: "manifests/latest".</param>
    /// <param name="offset">Bytes to leave out; a registry may ignore it, and answers 200 then.</param>
    /// <param name="deadline">Cancelled when the endpoint is silent for too long; not by who waits for the answer.</param>
    /// <exception cref="RegistryException"/>
    public async Task<HttpResponseMessage> GetAsync(
        RegistrySource source, RegistryHost endpoint, string path, IReadOnlyList<string> accept, long offset, CancellationToken deadline)
    {
        var address = new Uri(endpoint.Address, $"/v2/{source.Repository}/{path}");
        var authorization = _tokens.Find(endpoint, source.Repository);
        for (var asked = 0; ; asked++)
        {
            var (response, own) = await FollowAsync(source, endpoint, address, authorization, accept, offset, deadline);
            if (response.StatusCode is HttpStatusCode.OK or HttpStatusCode.PartialContent)
            {
                return response;
            }

            using (response)
            {
                if (response.StatusCode == HttpStatusCode.Unauthorized)
                {
                    _tokens.Forget(endpoint, source.Repository);
                }

                // Only the endpoint itself may ask for credentials, not whom it refers to: the challenge says where they are sent.
                if (response.StatusCode != HttpStatusCode.Unauthorized || asked > 0 || !own)
                {
                    throw Refusal(source, endpoint, path, response);
                }

                authorization = await AuthorizationAsync(source, endpoint, Challenge.Of(response.Headers.WwwAuthenticate), deadline);
            }
        }
    }

    /// <summary>Puts what a connection or a TLS handshake threw into words.</summary>
    public static RegistryException Explain(RegistryHost host, Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case RegistryException own:
                    return own;
                case AuthenticationException:
                    return new(
                        RegistryFailure.Untrusted,
                        $"Registry {host} cannot be trusted: {Shown(inner.Message)} Name its authority (ca) under registries: in the server's "
                        + "configuration, or set plain_http there if it does not encrypt.", exception);
                // What was reached and broke off is something else.
                case SocketException { SocketErrorCode: not (SocketError.ConnectionReset or SocketError.ConnectionAborted) } socket:
                    return new(RegistryFailure.Unavailable, $"Registry {host} cannot be reached: {Shown(socket.Message)}.", exception);
            }
        }

        return exception is OperationCanceledException
            ? new(RegistryFailure.Unavailable, $"Registry {host} did not answer in time.", exception)
            : new(RegistryFailure.Unavailable, $"Registry {host} broke the connection off: {Shown(exception.Message)}", exception);
    }

    /// <summary>What those exceptions are; anything else is our own fault.</summary>
    public static bool IsConnectionFault(Exception exception) =>
        exception is HttpRequestException or IOException or SocketException or AuthenticationException or OperationCanceledException;

    private async Task<(HttpResponseMessage Response, bool Own)> FollowAsync(
        RegistrySource source, RegistryHost endpoint, Uri address, string? authorization, IReadOnlyList<string> accept, long offset,
        CancellationToken deadline)
    {
        var host = endpoint;
        for (var hops = 0; ; hops++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, address);
            request.Headers.UserAgent.Add(new ProductInfoHeaderValue("hypervisor", null));
            foreach (var type in accept)
            {
                request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(type));
            }

            if (offset > 0)
            {
                request.Headers.Range = new RangeHeaderValue(offset, null);
            }

            // Whoever is referred to gets no credential: its address carries what it needs, and it may be anyone.
            if (authorization is not null && ReferenceEquals(host, endpoint))
            {
                request.Headers.TryAddWithoutValidation("Authorization", authorization);
            }

            var response = await SendAsync(host, request, deadline);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308))
            {
                return (response, ReferenceEquals(host, endpoint));
            }

            using (response)
            {
                var target = response.Headers.Location is { } location ? new Uri(address, location) : null;
                if (hops == RegistryLimits.Redirects || target is null)
                {
                    throw new RegistryException(RegistryFailure.Invalid, $"Registry {endpoint} refers to too many other places, or to none.");
                }

                if (target.Scheme is not ("http" or "https"))
                {
                    throw new RegistryException(RegistryFailure.Refused, $"Registry {endpoint} refers to something else than a web address ({DisplayText.Of(target.Scheme)}).");
                }

                host = target.Authority == endpoint.Address.Authority && target.Scheme == endpoint.Address.Scheme ? endpoint : source.Referred(target, endpoint);
                RequireScheme(endpoint, host, target);
                address = target;
            }
        }
    }

    private static void RequireScheme(RegistryHost endpoint, RegistryHost host, Uri target)
    {
        if (target.Scheme != host.Address.Scheme || target.UserInfo.Length > 0)
        {
            throw new RegistryException(
                RegistryFailure.Refused,
                $"Registry {endpoint} refers to {target.Scheme}://{DisplayText.Of(target.Authority)}, which is not encrypted or carries a password; "
                + "an operator can allow plain_http for that host under registries: in the server's configuration.");
        }
    }

    private async Task<HttpResponseMessage> SendAsync(RegistryHost host, HttpRequestMessage request, CancellationToken deadline)
    {
        try
        {
            return await _connections.SendAsync(host, request, deadline);
        }
        catch (Exception exception) when (IsConnectionFault(exception))
        {
            throw Explain(host, exception);
        }
    }

    private async Task<string> AuthorizationAsync(RegistrySource source, RegistryHost endpoint, Challenge? challenge, CancellationToken deadline)
    {
        var basic = endpoint.HasCredentials
            ? "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{endpoint.Username}:{endpoint.Password.Reveal()}"))
            : null;
        if (challenge?.Realm is { } realm)
        {
            return await TokenAsync(source, endpoint, realm, challenge.Service, basic, deadline);
        }

        if (challenge is null || basic is null)
        {
            throw Unauthorized(source, endpoint, basic is null ? "no credentials are configured for it" : "it asks for them in a way that is not supported");
        }

        // Forgotten with the next 401.
        _tokens.Remember(endpoint, source.Repository, basic, RegistryLimits.TokenLife);
        return basic;
    }

    private async Task<string> TokenAsync(
        RegistrySource source, RegistryHost endpoint, Uri realm, string service, string? basic, CancellationToken deadline)
    {
        var host = source.Referred(realm, endpoint);
        RequireScheme(endpoint, host, realm);

        // Our own scope, not the challenge's: a token for anything else is not asked for on a registry's word.
        var query = $"{(realm.Query.Length > 1 ? realm.Query + "&" : "?")}service={Uri.EscapeDataString(service)}&scope={Uri.EscapeDataString($"repository:{source.Repository}:pull")}";
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(realm, realm.AbsolutePath + query));
        if (basic is not null)
        {
            request.Headers.TryAddWithoutValidation("Authorization", basic);
        }

        using var response = await SendAsync(host, request, deadline);
        if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.BadRequest)
        {
            throw Unauthorized(source, endpoint, basic is null ? "no credentials are configured for it" : "its token server refuses the configured credentials");
        }

        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw Refusal(source, endpoint, "token", response);
        }

        TokenAnswer? answer;
        try
        {
            answer = JsonSerializer.Deserialize(await ReadAsync(endpoint, response, RegistryLimits.TokenBytes, deadline), RegistryJson.Default.TokenAnswer);
        }
        catch (JsonException exception)
        {
            throw new RegistryException(RegistryFailure.Invalid, $"The token server of registry {endpoint} answers no token.", exception);
        }

        if ((answer?.Token ?? answer?.AccessToken) is not { Length: > 0 } token || token.Any(character => character is <= ' ' or > '~'))
        {
            throw new RegistryException(RegistryFailure.Invalid, $"The token server of registry {endpoint} answers no token.");
        }

        var life = TimeSpan.FromSeconds(Math.Max(answer!.ExpiresIn ?? 0, RegistryLimits.TokenLife.TotalSeconds)) - RegistryLimits.TokenMargin;
        var authorization = "Bearer " + token;
        _tokens.Remember(endpoint, source.Repository, authorization, life);
        return authorization;
    }

    /// <exception cref="RegistryException">Unavailable; Invalid when there is more.</exception>
    public static async Task<byte[]> ReadAsync(RegistryHost endpoint, HttpResponseMessage response, int limit, CancellationToken deadline)
    {
        try
        {
            await using var body = await response.Content.ReadAsStreamAsync(deadline);
            using var whole = new MemoryStream();
            var buffer = new byte[16 << 10];
            for (int count; (count = await body.ReadAsync(buffer, deadline)) > 0;)
            {
                if (whole.Length + count > limit)
                {
                    throw new RegistryException(RegistryFailure.Invalid, $"Registry {endpoint} sends a document of more than {limit} bytes.");
                }

                whole.Write(buffer, 0, count);
            }

            return whole.ToArray();
        }
        catch (Exception exception) when (IsConnectionFault(exception))
        {
            throw Explain(endpoint, exception);
        }
    }

    private RegistryException Refusal(RegistrySource source, RegistryHost endpoint, string path, HttpResponseMessage response)
    {
        var wait = response.Headers.RetryAfter is { } after ? after.Delta ?? after.Date - time.GetUtcNow() : null;
        return (int)response.StatusCode switch
        {
            401 or 403 => Unauthorized(source, endpoint, endpoint.HasCredentials ? "it refuses the configured credentials" : "no credentials are configured for it"),
            404 or 410 => new(RegistryFailure.NotFound, $"Registry {endpoint} has no {What(source, path)}."),
            429 => new(RegistryFailure.RateLimited, $"Registry {endpoint} is asked too often for {What(source, path)}{Later(wait)}.") { RetryAfter = wait },
            >= 500 => new(RegistryFailure.Unavailable, $"Registry {endpoint} cannot answer for {What(source, path)} (status {(int)response.StatusCode}){Later(wait)}.") { RetryAfter = wait },
            416 => new(RegistryFailure.Invalid, $"Registry {endpoint} has {What(source, path)} in another size than the manifest says."),
            _ => new(RegistryFailure.Invalid, $"Registry {endpoint} answers status {(int)response.StatusCode} for {What(source, path)}."),
        };

        static string Later(TimeSpan? wait) => wait is { } time && time > TimeSpan.Zero ? $"; it asks to come back in {Math.Ceiling(time.TotalSeconds)} s" : "";
    }

    private static RegistryException Unauthorized(RegistrySource source, RegistryHost endpoint, string why) => new(
        RegistryFailure.Unauthorized,
        $"Registry {endpoint} does not let us read {source.Repository}: {why}. Either it does not exist, or username and password under registries: "
        + "in the server's configuration need correcting.");

    private static string What(RegistrySource source, string path) => path.StartsWith("manifests/", StringComparison.Ordinal)
        ? $"image {source.Repository}{(path.Contains("sha256:", StringComparison.Ordinal) ? "@" : ":")}{path["manifests/".Length..]}"
        : path.StartsWith("blobs/", StringComparison.Ordinal) ? $"blob {path["blobs/".Length..]} of {source.Repository}"
        : $"{path} for {source.Repository}";

    private static string Shown(string message) => DisplayText.Of(message.Length > 200 ? message[..200] : message);
}
