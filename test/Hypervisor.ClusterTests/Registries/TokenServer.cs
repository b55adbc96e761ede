using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Hypervisor.TestCluster;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Hypervisor.ClusterTests.Registries;

/// <summary>Issues tokens for a docker-registry, on the cluster's machine, to whoever has the credentials.</summary>
internal sealed class TokenServer : IAsyncDisposable
{
    public const string Service = "test-registry";
    public const string Issuer = "test-issuer";

    private readonly Socket _socket;
    private readonly WebApplication _app;
    private readonly TestAuthority _authority;
    private readonly string _credentials;

    private TokenServer(Socket socket, WebApplication app, TestAuthority authority, string credentials) =>
        (_socket, _app, _authority, _credentials) = (socket, app, authority, credentials);

    /// <summary>Scopes that were asked for.</summary>
    public ConcurrentQueue<string> Scopes { get; } = new();

    /// <summary>Tokens that were given out.</summary>
    public ConcurrentQueue<string> Given { get; } = new();

    public static async Task<TokenServer> StartAsync(LocalCluster cluster, int port, TestAuthority authority, string credentials)
    {
        var socket = await Linux.ListenInsideAsync(cluster.NetworkNamespace, new IPEndPoint(IPAddress.Loopback, port));
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenHandle((ulong)socket.Handle));
        var app = builder.Build();
        var server = new TokenServer(socket, app, authority, credentials);
        app.Run(server.AnswerAsync);
        await app.StartAsync();
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _socket.Dispose();
    }

    private Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Headers.Authorization != "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes(_credentials)))
        {
            context.Response.StatusCode = 401;
            return Task.CompletedTask;
        }

        var scope = context.Request.Query["scope"].ToString();
        Scopes.Enqueue(scope);
        var parts = scope.Split(':');
        var now = RealTime.Clock.GetUtcNow().ToUnixTimeSeconds();
        var claims = new
        {
            iss = Issuer,
            sub = "test",
            aud = Service,
            exp = now + 300,
            nbf = now - 60,
            iat = now,
            jti = Guid.CreateVersion7(RealTime.Clock.GetUtcNow()).ToString(),
            access = new[] { new { type = "repository", name = parts[1], actions = parts[2].Split(',') } },
        };
        var signed = $"{Encoded(new { typ = "JWT", alg = "RS256", x5c = new[] { _authority.CertificateBase64 } })}.{Encoded(claims)}";
        var token = $"{signed}.{Base64Url.EncodeToString(_authority.Sign(Encoding.ASCII.GetBytes(signed)))}";
        Given.Enqueue(token);
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(JsonSerializer.Serialize(new { token, expires_in = 300 }));
    }

    private static string Encoded<T>(T value) => Base64Url.EncodeToString(JsonSerializer.SerializeToUtf8Bytes(value));
}
