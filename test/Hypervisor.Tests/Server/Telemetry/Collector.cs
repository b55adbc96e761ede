using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Hypervisor.Tests.Server.Telemetry;

/// <summary>As much of an OTLP collector as a test needs: takes every export and keeps its bytes.</summary>
internal sealed class Collector(WebApplication app, MemoryStream received) : IAsyncDisposable
{
    public Uri Address => new(app.Urls.First());

    public byte[] Received
    {
        get
        {
            lock (received)
            {
                return received.ToArray();
            }
        }
    }

    public static async Task<Collector> StartAsync(CancellationToken cancellationToken)
    {
        var received = new MemoryStream();
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
            kestrel.Listen(IPAddress.Loopback, 0, options => options.Protocols = HttpProtocols.Http2));
        var app = builder.Build();
        app.Run(async context =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body, cancellationToken);
            lock (received)
            {
                received.Write(body.GetBuffer(), 0, (int)body.Length);
            }

            // An empty message, and the status in the trailers, as gRPC has it.
            context.Response.ContentType = "application/grpc";
            await context.Response.Body.WriteAsync(new byte[5], cancellationToken);
            context.Response.AppendTrailer("grpc-status", "0");
        });
        await app.StartAsync(cancellationToken);
        return new(app, received);
    }

    public async ValueTask DisposeAsync() => await app.DisposeAsync();
}
