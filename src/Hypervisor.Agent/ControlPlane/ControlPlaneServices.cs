using Grpc.Net.Client;
using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Node;

namespace Hypervisor.Agent.ControlPlane;

/// <summary>The way to the server.</summary>
internal static class ControlPlaneServices
{
    public static IServiceCollection AddControlPlane(this IServiceCollection services, AgentConfiguration configuration) => services
        .AddSingleton(provider => GrpcControlPlane.Open(
            new UriBuilder(Uri.UriSchemeHttp, configuration.ServerAddress.Host, configuration.ServerAddress.Port).Uri,
            provider.GetRequiredService<ILoggerFactory>()))
        .AddSingleton<IControlPlane>(provider => new GrpcControlPlane(
            provider.GetRequiredService<GrpcChannel>(), provider.GetRequiredService<NodeState>(), provider.GetRequiredService<TimeProvider>()));
}
