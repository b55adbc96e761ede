using System.Net;
using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Streams;
using Hypervisor.Hosting.Configuration;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Hypervisor.Agent.Telemetry;

/// <summary>What the agent tells monitoring: figures on an address of their own, spans to a collector. Both are off unless configured.</summary>
internal static class TelemetryServices
{
    public static IServiceCollection AddTelemetry(this IServiceCollection services, AgentConfiguration configuration, string version)
    {
        if (configuration.OtlpEndpoint is { } collector)
        {
            services.AddSingleton(provider => new SpanExport(
                collector, configuration.Hostname, version, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<SpanExport>>()));
            services.AddHostedService<SpanExportHost>();
        }

        return services;
    }

    public static void ListenForMetrics(this KestrelServerOptions kestrel, HostPort? address)
    {
        if (address is { IsAny: true } any)
        {
            kestrel.ListenAnyIP(any.Port, Http1);
        }
        else if (address is { } one)
        {
            kestrel.Listen(IPAddress.TryParse(one.Host, out var ip) ? ip : Dns.GetHostAddresses(one.Host)[0], one.Port, Http1);
        }

        static void Http1(ListenOptions options) => options.Protocols = HttpProtocols.Http1;
    }

    /// <summary>/metrics, and nothing else, on that port.</summary>
    public static void MapMetrics(this WebApplication app, HostPort? address)
    {
        if (address is not { } listened)
        {
            return;
        }

        var metrics = app.Services.GetRequiredService<AgentMetrics>();
        var (reconciler, streams) = (app.Services.GetRequiredService<Reconciler>(), app.Services.GetRequiredService<StreamGate>());
        metrics.Read("hypervisor_agent_instances", "gauge", "Instances that this agent looks after.", () => reconciler.Count);
        metrics.Read("hypervisor_agent_streams", "gauge", "Streams into instances that are open.", () => streams.Count);
        metrics.Read("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", () => Environment.WorkingSet);
        metrics.Read("process_cpu_seconds_total", "counter", "User and system CPU time in seconds.", () => Environment.CpuUsage.TotalTime.TotalSeconds);
        app.MapWhen(context => context.Connection.LocalPort == listened.Port, branch => branch.Run(context =>
        {
            var found = context.Request.Path == "/metrics";
            context.Response.StatusCode = found ? StatusCodes.Status200OK : StatusCodes.Status404NotFound;
            context.Response.ContentType = found ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain; charset=utf-8";
            return context.Response.WriteAsync(found ? metrics.Write() : "Here is /metrics.\n", context.RequestAborted);
        }));
    }

    private sealed class SpanExportHost(SpanExport export) : BackgroundService
    {
        protected override Task ExecuteAsync(CancellationToken stoppingToken) => export.RunAsync(stoppingToken);
    }
}
