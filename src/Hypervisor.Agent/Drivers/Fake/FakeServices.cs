using Hypervisor.Agent.Instances;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Networking;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>An agent that runs nothing, for tests of everything around it.</summary>
internal static class FakeServices
{
    public static IServiceCollection AddFakeMachine(this IServiceCollection services) => services
        .AddSingleton<FakeMachine>()
        .AddSingleton<FakeFaults>()
        .AddSingleton<IInstanceDriver>(provider => new FakeDriver(provider.GetRequiredService<FakeMachine>(), provider.GetRequiredService<FakeFaults>()))
        .AddSingleton<IHealthProbe, FakeHealth>()
        .AddSingleton<INodeNetwork, FakeNetwork>()
        .AddSingleton<IImageProvider, FakeImages>();
}
