namespace Hypervisor.Server.Replicas;

internal static class ReplicasServices
{
    public static IServiceCollection AddReplicas(this IServiceCollection services, string name, string address) => services
        .AddSingleton(new Replica(name, address))
        .AddSingleton<ReplicaDirectory>()
        .AddSingleton<ReplicaCalls>();
}
