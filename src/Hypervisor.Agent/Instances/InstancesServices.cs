using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Networking;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Instances;

/// <summary>The reconciler, its runners and what they report.</summary>
internal static class InstancesServices
{
    public static IServiceCollection AddInstances(this IServiceCollection services) => services
        .AddSingleton<StatusReporter>()
        .AddSingleton(provider => new RunnerServices(
            provider.GetRequiredService<IReadOnlyList<IInstanceDriver>>(),
            provider.GetService<INodeNetwork>(),
            provider.GetRequiredService<IImageProvider>(),
            provider.GetRequiredService<IHealthProbe>(),
            provider.GetRequiredService<StatusReporter>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<ILogger<Runner>>()))
        .AddSingleton<Reconciler>();

    /// <summary>Health checks of real instances.</summary>
    public static IServiceCollection AddHealthProbes(this IServiceCollection services) => services
        .AddSingleton<NetworkHealthProbe>()
        .AddSingleton<ExecHealthProbe>()
        .AddSingleton<IHealthProbe, HealthProbes>();
}
