using System.Net;
using Grpc.Health.V1;
using Grpc.HealthCheck;
using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Streams;
using Hypervisor.Hosting.Configuration;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Hypervisor.Agent.Api;

/// <summary>The agent's own gRPC endpoint.</summary>
internal static class ApiServices
{
    public static IServiceCollection AddApi(this IServiceCollection services)
    {
        var health = new HealthServiceImpl();
        health.SetStatus("", HealthCheckResponse.Types.ServingStatus.Serving);
        services.AddSingleton(health);
        services.AddSingleton<StreamTokens>();
        services.AddSingleton(new StreamGate());
        services.AddSingleton(provider => new InstanceStreams(
            provider.GetRequiredService<Reconciler>().Find,
            provider.GetRequiredService<StreamTokens>(),
            provider.GetRequiredService<StreamGate>(),
            provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton<AgentService>();
        services.AddSingleton<NodeCredentialInterceptor>();
        services.AddGrpc(options => options.MaxReceiveMessageSize = Limits.MessageBytes)
            .AddServiceOptions<AgentService>(options => options.Interceptors.Add<NodeCredentialInterceptor>());
        return services;
    }

    /// <summary>Without encryption, as HTTP/2 with prior knowledge.</summary>
    public static void ListenOn(this KestrelServerOptions kestrel, HostPort address)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxConcurrentConnections = Limits.ApiConnections;
        kestrel.Limits.Http2.MaxStreamsPerConnection = Limits.ApiConnections;
        kestrel.Limits.Http2.KeepAlivePingDelay = Limits.KeepAlivePingDelay;
        kestrel.Limits.Http2.KeepAlivePingTimeout = Limits.KeepAlivePingTimeout;
        if (address.IsAny)
        {
            kestrel.ListenAnyIP(address.Port, Http2);
            return;
        }

        kestrel.Listen(IPAddress.TryParse(address.Host, out var ip) ? ip : Dns.GetHostAddresses(address.Host)[0], address.Port, Http2);

        static void Http2(ListenOptions options) => options.Protocols = HttpProtocols.Http2;
    }

    public static void MapApi(this IEndpointRouteBuilder routes)
    {
        routes.MapGrpcService<AgentService>();
        routes.MapGrpcService<HealthServiceImpl>();
    }
}
