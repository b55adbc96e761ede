using Hypervisor.Server.Api;
using Hypervisor.Server.Rest.OpenApi;
using Hypervisor.Server.Rest.Sockets;
using Hypervisor.Server.Telemetry;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Hypervisor.Server.Rest;

/// <summary>Everything on <c>http_addr</c>: REST under /v1, its description, and what probes and monitoring ask.</summary>
internal static class HttpPort
{
    public static void Map(IApplicationBuilder app)
    {
        app.UseWebSockets(new WebSocketOptions { KeepAliveInterval = Limits.Sockets.Ping, KeepAliveTimeout = Limits.Sockets.Pong });
        app.Run(HandleAsync);
    }

    private static Task HandleAsync(HttpContext context) => context.Request.Path.Value switch
    {
        "/healthz" => TextAsync(context, StatusCodes.Status200OK, "ok\n"),
        "/readyz" => ReadyAsync(context),
        "/metrics" => MetricsAsync(context),
        "/openapi.json" => context.RequestServices.GetRequiredService<ApiReference>().WriteDocumentAsync(context),
        "/docs" or "/docs/" => context.RequestServices.GetRequiredService<ApiReference>().WritePageAsync(context),
        { } path when path.StartsWith("/v1/", StringComparison.Ordinal) =>
            context.RequestServices.GetRequiredService<InstanceSockets>().Find(context) is { } socket
                ? socket
                : context.RequestServices.GetRequiredService<RestApi>().HandleAsync(context),
        _ => TextAsync(
            context, StatusCodes.Status404NotFound, "Here are /v1/… (REST), /docs, /openapi.json, /healthz, /readyz and /metrics.\n"),
    };

    /// <summary>/healthz says that the process serves, /readyz that it can answer.</summary>
    private static Task ReadyAsync(HttpContext context)
    {
        var result = context.RequestServices.GetRequiredService<ReadinessCheck>().Check();
        return TextAsync(
            context,
            result.Status == HealthStatus.Healthy ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable,
            $"{result.Description}\n");
    }

    private static Task MetricsAsync(HttpContext context)
    {
        var text = context.RequestServices.GetRequiredService<PrometheusText>().Read();
        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        return context.Response.WriteAsync(text, context.RequestAborted);
    }

    private static Task TextAsync(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(text, context.RequestAborted);
    }
}
