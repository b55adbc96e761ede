namespace Hypervisor.Server.State;

internal static class StateServices
{
    public static IServiceCollection AddState(this IServiceCollection services)
    {
        services.AddSingleton<ClusterState>();
        services.AddSingleton<ViewReads>();
        services.AddSingleton<ViewConfirmation>();
        return services;
    }
}
