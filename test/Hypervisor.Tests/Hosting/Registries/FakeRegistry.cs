using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Hypervisor.Hosting.Registries;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Hypervisor.Tests.Hosting.Registries;

/// <summary>A request as it arrived.</summary>
internal sealed record SeenRequest(string Path, string Query, string Authorization, string Range);

/// <summary>A registry on loopback that serves what it is given and misbehaves as a test says.</summary>
internal sealed class FakeRegistry : IAsyncDisposable
{
    private readonly WebApplication _app;

    private FakeRegistry(WebApplication app) => _app = app;

    /// <summary>By digest.</summary>
    public ConcurrentDictionary<string, byte[]> Blobs { get; } = new();

    /// <summary>By "repository:tag" or "repository@digest", with media type.</summary>
    public ConcurrentDictionary<string, (byte[] Content, string Type)> Manifests { get; } = new();

    public ConcurrentQueue<SeenRequest> Requests { get; } = new();

    /// <summary>Asked first; true when it has answered.</summary>
    public Func<HttpContext, Task<bool>> Misbehave { get; set; } = _ => Task.FromResult(false);

    public bool IgnoresRanges { get; set; }

    public string Name { get; private set; } = "";

    public RegistryHost Host => new(Name) { Trusted = true, PlainHttp = true };

    /// <param name="socket">Where it listens, in whatever network namespace; null is a port of its own on loopback.</param>
    public static async Task<FakeRegistry> StartAsync(X509Certificate2? certificate = null, Socket? socket = null)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore();
        if (certificate is not null)
        {
            builder.WebHost.UseKestrelHttpsConfiguration();
        }

        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            if (socket is not null)
            {
                kestrel.ListenHandle((ulong)socket.Handle);
                return;
            }

            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen =>
            {
                if (certificate is not null)
                {
                    listen.UseHttps(certificate);
                }
            });
        });
        var app = builder.Build();
        var registry = new FakeRegistry(app);
        app.Run(registry.AnswerAsync);
        await app.StartAsync();
        registry.Name = socket?.LocalEndPoint?.ToString() ?? new Uri(app.Urls.First()).Authority;
        return registry;
    }

    public RegistrySource Source(string repository = "app", params RegistryHost[] known) => new(repository, [Host], known);

    public string AddBlob(byte[] content)
    {
        var digest = RegistryClient.DigestOf(content);
        Blobs[digest] = content;
        return digest;
    }

    public string AddManifest(string repository, string tag, byte[] content, string type = "application/vnd.oci.image.manifest.v1+json")
    {
        var digest = RegistryClient.DigestOf(content);
        Manifests[$"{repository}:{tag}"] = Manifests[$"{repository}@{digest}"] = (content, type);
        return digest;
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private async Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        Requests.Enqueue(new(request.Path, request.QueryString.Value ?? "", request.Headers.Authorization.ToString(), request.Headers.Range.ToString()));
        if (await Misbehave(context))
        {
            return;
        }

        var parts = request.Path.Value!.Split('/');
        var repository = string.Join('/', parts[2..^2]);
        if (parts[^2] == "manifests" && Manifests.TryGetValue($"{repository}{(parts[^1].Contains(':') ? '@' : ':')}{parts[^1]}", out var manifest))
        {
            context.Response.ContentType = manifest.Type;
            await context.Response.Body.WriteAsync(manifest.Content);
        }
        else if (parts[^2] == "blobs" && Blobs.TryGetValue(parts[^1], out var blob))
        {
            await ServeAsync(context, blob, blob.Length);
        }
        else
        {
            context.Response.StatusCode = 404;
            await context.Response.WriteAsync("""{"errors":[{"code":"MANIFEST_UNKNOWN"}]}""");
        }
    }

    /// <summary>From the offset that was asked for; breaks the connection after so many bytes of the blob.</summary>
    public async Task ServeAsync(HttpContext context, byte[] blob, int until)
    {
        var range = context.Request.Headers.Range.ToString();
        var from = range.Length > 0 && !IgnoresRanges ? int.Parse(range["bytes=".Length..^1]) : 0;
        if (from > 0)
        {
            context.Response.StatusCode = 206;
            context.Response.Headers.ContentRange = $"bytes {from}-{blob.Length - 1}/{blob.Length}";
        }

        context.Response.ContentLength = blob.Length - from;
        await context.Response.Body.WriteAsync(blob.AsMemory(from, Math.Max(until - from, 0)));
        await context.Response.Body.FlushAsync();
        if (until < blob.Length)
        {
            context.Abort();
        }
    }

    /// <summary>Asks for a token, and gives them out under /token to whoever has the credentials.</summary>
    public Func<HttpContext, Task<bool>> WithTokens(string? username, string? password, Func<string> token) => async context =>
    {
        var authorization = context.Request.Headers.Authorization.ToString();
        if (context.Request.Path == "/token")
        {
            var expected = username is null ? "" : "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{username}:{password}"));
            context.Response.StatusCode = authorization == expected ? 200 : 401;
            await context.Response.WriteAsync($$"""{"token":"{{token()}}","expires_in":300}""");
            return true;
        }

        if (authorization == "Bearer " + token())
        {
            return false;
        }

        context.Response.StatusCode = 401;
        context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"http://{Name}/token\",service=\"the \\\"registry\\\"\",scope=\"repository:other:pull,push\"";
        return true;
    };
}
