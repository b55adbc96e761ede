using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Hypervisor.Server.Api;

/// <summary>Health over HTTP for probes and load balancers: /healthz says that the process serves, /readyz that it can answer.</summary>
internal static class HealthEndpoints
{
    public static void Map(IApplicationBuilder app) => app.Run(async context =>
    {
        context.Response.ContentType = "text/plain; charset=utf-8";
        switch (context.Request.Path.Value)
        {
            case "/healthz":
                await context.Response.WriteAsync("ok\n", context.RequestAborted);
                break;
            case "/readyz":
                var result = context.RequestServices.GetRequiredService<ReadinessCheck>().Check();
                context.Response.StatusCode = result.Status == HealthStatus.Healthy
                    ? StatusCodes.Status200OK
                    : StatusCodes.Status503ServiceUnavailable;
                await context.Response.WriteAsync($"{result.Description}\n", context.RequestAborted);
                break;
            default:
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                await context.Response.WriteAsync("Here are /healthz and /readyz.\n", context.RequestAborted);
                break;
        }
    });
}
