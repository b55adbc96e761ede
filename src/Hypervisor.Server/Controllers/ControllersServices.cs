using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Instances;
using Hypervisor.Server.Api.Instances.Updates;
using Hypervisor.Server.Controllers.Groups;
using Hypervisor.Server.Events;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.Controllers;

internal static class ControllersServices
{
    /// <param name="candidate">This server's name in the election.</param>
    /// <param name="strategy">For instances that name none.</param>
    public static IServiceCollection AddControllers(this IServiceCollection services, string candidate, PlacementStrategy strategy)
    {
        services.AddSingleton<CurrentTerm>();
        services.AddSingleton(provider => new Placer(
            provider.GetRequiredService<ClusterState>(), strategy, provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton<Evictor>();
        services.AddSingleton<DrainReports>();
        services.AddSingleton<Rebalancer>();
        services.AddSingleton<IFirstPlacement, FirstPlacement>();
        services.AddSingleton<IResizing, Resizing>();

        services.AddSingleton<IController, PlacementController>();
        services.AddSingleton<IController, EvacuationController>();
        services.AddSingleton<IController, NodeHealthController>();
        services.AddSingleton<IController, TombstoneCollector>();
        services.AddSingleton<IController, HistoryCompactor>();
        services.AddGroupController();
        services.AddSingleton<IController, EventRecorder>();
        services.AddSingleton<ZoneLossReport>();
        services.AddSingleton<IController>(provider => new ZoneLossController(
            provider.GetRequiredService<ClusterState>(), provider.GetRequiredService<ZoneLossReport>(), strategy, provider.GetRequiredService<TimeProvider>()));

        services.AddSingleton(provider => new LeadershipHost(
            provider.GetRequiredService<IClusterStore>(),
            provider.GetRequiredService<ClusterState>(),
            provider.GetRequiredService<CurrentTerm>(),
            [.. provider.GetServices<IController>()],
            candidate,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<LeadershipHost>>()));
        return services;
    }
}
