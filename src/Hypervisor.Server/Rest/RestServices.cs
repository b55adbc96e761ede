using Hypervisor.Server.Api;
using Hypervisor.Server.Rest.OpenApi;
using Hypervisor.Server.Rest.Sockets;

namespace Hypervisor.Server.Rest;

internal static class RestServices
{
    /// <summary>The public services; what agents ask of the server and the server of agents is gRPC only.</summary>
    public static IServiceCollection AddRest(this IServiceCollection services)
    {
        services.AddSingleton(provider =>
        {
            var cluster = new ServiceMethods(Protocol.V1.ClusterService.Descriptor);
            Protocol.V1.ClusterService.BindService(cluster, provider.GetRequiredService<ClusterService>());
            var compute = new ServiceMethods(Protocol.V1.ComputeService.Descriptor);
            Protocol.V1.ComputeService.BindService(compute, provider.GetRequiredService<ComputeService>());
            var groups = new ServiceMethods(Protocol.V1.GroupService.Descriptor);
            Protocol.V1.GroupService.BindService(groups, provider.GetRequiredService<GroupService>());
            return new RestRoutes([.. cluster.All, .. compute.All, .. groups.All]);
        });
        services.AddSingleton<RestApi>();
        services.AddSingleton<InstanceSockets>();
        services.AddSingleton<ApiReference>();
        return services;
    }
}
