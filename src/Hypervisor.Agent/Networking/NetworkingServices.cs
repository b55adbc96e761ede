namespace Hypervisor.Agent.Networking;

/// <summary>Registers the node network.</summary>
internal static class NetworkingServices
{
    public static IServiceCollection AddNetworking(this IServiceCollection services, NetworkOptions options) =>
        services.AddSingleton(options).AddSingleton<INodeNetwork, NodeNetwork>();
}
