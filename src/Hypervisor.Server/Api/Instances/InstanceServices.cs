using Hypervisor.Hosting.Randomness;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Instances.Snapshots;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Images.Aliases;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Api.Instances;

internal static class InstanceServices
{
    /// <summary>Everything that can be asked of instances; <see cref="IFirstPlacement"/> is used when there is one.</summary>
    public static IServiceCollection AddInstances(this IServiceCollection services)
    {
        services.AddSingleton(provider => new InstanceCreation(
            provider.GetRequiredService<ViewReads>(),
            provider.GetRequiredService<StoreWriter>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetService<IFirstPlacement>(),
            provider.GetService<ImageAliases>()));
        services.AddSingleton(provider => new BulkCreation(
            provider.GetRequiredService<ViewReads>(),
            provider.GetRequiredService<StoreWriter>(),
            provider.GetRequiredService<ErrorTranslation>(),
            provider.GetRequiredService<InstanceCreation>(),
            provider.GetService<IFirstPlacement>()));
        services.AddSingleton<InstanceDeletion>();
        services.AddSingleton<InstancePower>();
        services.AddSingleton(provider => new InstanceUpdate(
            provider.GetRequiredService<ViewReads>(),
            provider.GetRequiredService<StoreWriter>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetService<IResizing>()));
        services.AddSingleton<InstanceSnapshots>();
        services.AddSingleton<InstanceCloning>();
        services.AddSingleton<InstanceQueries>();
        services.AddSingleton<InstanceOperations>();
        return services;
    }
}
