namespace Hypervisor.Server.Api.Groups;

internal static class GroupServices
{
    public static IServiceCollection AddGroups(this IServiceCollection services)
    {
        services.AddSingleton<GroupCreation>();
        services.AddSingleton<GroupChange>();
        services.AddSingleton<GroupUpdates>();
        services.AddSingleton<GroupQueries>();
        services.AddSingleton<GroupWatch>();
        services.AddSingleton<GroupOperations>();
        return services;
    }
}
