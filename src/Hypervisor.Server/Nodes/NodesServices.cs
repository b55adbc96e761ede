using Hypervisor.Server.Configuration;

namespace Hypervisor.Server.Nodes;

internal static class NodesServices
{
    public static IServiceCollection AddNodes(this IServiceCollection services, ServerConfiguration configuration)
    {
        var terms = new HeartbeatTerms(configuration.Heartbeat.Interval, configuration.Heartbeat.Timeout);
        services.AddSingleton(terms);
        services.AddSingleton(configuration.Network);
        services.AddSingleton(provider => new HeartbeatTable(provider.GetRequiredService<TimeProvider>()) { NewsAfter = terms.SuspectAfter });
        services.AddSingleton<IncarnationKeeper>();
        services.AddSingleton<NodeAuthenticator>();
        services.AddSingleton<NodeRegistry>();
        services.AddSingleton<HeartbeatIntake>();
        services.AddSingleton<AssignmentFeed>();
        services.AddSingleton<StatusIntake>();
        return services;
    }
}
