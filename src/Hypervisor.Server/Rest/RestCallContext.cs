using Grpc.Core;

namespace Hypervisor.Server.Rest;

/// <summary>What a method learns about a call that came over HTTP.</summary>
internal sealed class RestCallContext(HttpContext http, string method, CancellationToken cancellationToken) : ServerCallContext
{
    private Metadata? _headers;

    protected override string MethodCore => method;

    protected override string HostCore => http.Request.Host.Value ?? "";

    protected override string PeerCore => $"{http.Connection.RemoteIpAddress}:{http.Connection.RemotePort}";

    /// <summary>HTTP has none: every wait behind the API has its own.</summary>
    protected override DateTime DeadlineCore => DateTime.MaxValue;

    protected override Metadata RequestHeadersCore => _headers ??= ReadHeaders();

    protected override CancellationToken CancellationTokenCore => cancellationToken;

    protected override Metadata ResponseTrailersCore { get; } = [];

    protected override Status StatusCore { get; set; }

    protected override WriteOptions? WriteOptionsCore { get; set; }

    protected override AuthContext AuthContextCore { get; } = new(null, []);

    protected override ContextPropagationToken CreatePropagationTokenCore(ContextPropagationOptions? options) =>
        throw new NotSupportedException();

    protected override Task WriteResponseHeadersAsyncCore(Metadata responseHeaders)
    {
        foreach (var header in responseHeaders)
        {
            http.Response.Headers[header.Key] = header.Value;
        }

        return Task.CompletedTask;
    }

    private Metadata ReadHeaders()
    {
        var headers = new Metadata();
        foreach (var (name, values) in http.Request.Headers)
        {
            // What ends in -bin is base 64 in gRPC, and nothing we read.
            if (!name.StartsWith(':') && !name.EndsWith("-bin", StringComparison.OrdinalIgnoreCase))
            {
                headers.Add(name, values.ToString());
            }
        }

        return headers;
    }
}
