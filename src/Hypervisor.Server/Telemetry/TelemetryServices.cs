using Hypervisor.Server.Configuration;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Hypervisor.Server.Telemetry;

internal static class TelemetryServices
{
    /// <summary>ASP.NET Core's own source: one span per request, in the trace that its traceparent header names.</summary>
    private const string RequestSource = "Microsoft.AspNetCore";

    public static IServiceCollection AddTelemetry(this IServiceCollection services, TelemetryConfiguration configuration, string replica)
    {
        services.AddSingleton<CallMeter>();
        services.AddSingleton<ServerGauges>();
        services.AddSingleton<PrometheusText>();
        var telemetry = services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("hypervisor-server", serviceVersion: CommandLine.Version, serviceInstanceId: replica))
            .WithMetrics(metrics => metrics
                .AddMeter(ServerInstruments.MeterName)
                .AddReader(provider =>
                {
                    _ = provider.GetRequiredService<ServerGauges>();
                    return new BaseExportingMetricReader(provider.GetRequiredService<PrometheusText>());
                }));
        if (configuration.OtlpEndpoint is { } endpoint)
        {
            telemetry.WithTracing(tracing => tracing
                .AddSource(RequestSource)
                .AddOtlpExporter(options =>
                {
                    options.Endpoint = endpoint;
                    options.Protocol = OtlpExportProtocol.Grpc;
                }));
        }

        return services;
    }
}
