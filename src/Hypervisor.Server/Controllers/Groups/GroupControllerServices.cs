using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers.Groups;

internal static class GroupControllerServices
{
    public static IServiceCollection AddGroupController(this IServiceCollection services)
    {
        services.AddSingleton(provider => new MemberCreation(
            provider.GetRequiredService<Placer>(),
            provider.GetRequiredService<StoreWriter>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetService<ImageAliases>()));
        services.AddSingleton<GangCreation>();
        services.AddSingleton<GroupReconciler>();
        services.AddSingleton<IController, GroupController>();
        return services;
    }
}
