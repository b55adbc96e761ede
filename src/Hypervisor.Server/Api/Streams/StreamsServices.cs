using Hypervisor.Server.Nodes;

namespace Hypervisor.Server.Api.Streams;

internal static class StreamsServices
{
    public static IServiceCollection AddStreams(this IServiceCollection services) => services
        .AddSingleton<AgentConnections>()
        .AddSingleton<InstanceRoutes>()
        .AddSingleton<InstanceStreams>()
        .AddSingleton<LogStreams>();
}
