using Hypervisor.Agent.Configuration;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Telemetry;
using Hypervisor.Hosting.Randomness;

namespace Hypervisor.Agent.Node;

/// <summary>Identity, inventory, registration and heartbeats.</summary>
internal static class NodeServices
{
    public static IServiceCollection AddNode(this IServiceCollection services, AgentConfiguration configuration, string version) => services
        .AddSingleton(new NodeProfile(
            configuration.Hostname,
            configuration.AdvertiseAddress.ToString(),
            configuration.Role,
            configuration.Region,
            configuration.Zone,
            configuration.Labels,
            configuration.SupportedInstanceTypes,
            version)
        {
            Devices = configuration.Devices,
        })
        .AddSingleton<INodeIdentityStore>(new NodeIdentityFile(configuration.DataDirectory))
        .AddSingleton<IHostFacts>(new LinuxHost(configuration.DataDirectory))
        .AddSingleton<ILeaseClock, BootTimeClock>()
        .AddSingleton<NodeState>()
        .AddSingleton<IReadOnlyList<IInstanceDriver>>(provider => [.. provider.GetServices<IInstanceDriver>()
            .Where(driver => configuration.SupportedInstanceTypes.Contains(driver.Type))
            .Select(driver => new MeteredDriver(
                driver,
                provider.GetRequiredService<AgentMetrics>(),
                provider.GetRequiredService<TimeProvider>(),
                provider.GetRequiredService<ILogger<MeteredDriver>>()))])
        .AddSingleton<AgentMetrics>()
        .AddSingleton(provider => new Registration(
            provider.GetRequiredService<NodeProfile>(),
            provider.GetRequiredService<NodeState>(),
            provider.GetRequiredService<IHostFacts>(),
            provider.GetRequiredService<IReadOnlyList<IInstanceDriver>>(),
            provider.GetService<IAccelerators>(),
            provider.GetRequiredService<ControlPlane.IControlPlane>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<ILogger<Registration>>()))
        .AddSingleton<Heartbeats>()
        .AddSingleton(provider => new NodeAgent(
            provider.GetRequiredService<NodeState>(),
            provider.GetRequiredService<Registration>(),
            provider.GetRequiredService<Heartbeats>(),
            provider.GetRequiredService<Instances.Reconciler>(),
            provider.GetRequiredService<Instances.StatusReporter>(),
            provider.GetService<INodeNetwork>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<IRandomSource>(),
            provider.GetRequiredService<ILogger<NodeAgent>>()))
        .AddHostedService<NodeAgentHost>();
}
