using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Seccomp;
using Hypervisor.Agent.Drivers.Containerd.Streams;
using Hypervisor.Agent.Images;
using Hypervisor.Agent.Logs;

namespace Hypervisor.Agent.Drivers.Containerd;

internal static class ContainerdServices
{
    /// <summary>Containers through containerd. Needs a clock and randomness; touches nothing until it is used.</summary>
    public static IServiceCollection AddContainerd(this IServiceCollection services, ContainerdOptions options) => services
        .AddSingleton(options)
        .AddSingleton<ContainerdClient>()
        .AddSingleton<ContainerdProbe>()
        .AddSingleton<ImageStore>()
        .AddSingleton<InstanceUsers>()
        .AddSingleton<InstanceFiles>()
        .AddSingleton<Leftovers>()
        .AddSingleton(provider => new IdleShims(options, provider.GetRequiredService<Cgroups>()))
        .AddSingleton<ContainerTasks>()
        .AddSingleton<ShimGroups>()
        .AddSingleton(provider => new LogStore(
            options.LogDirectory, options.Logs, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<LogStore>>()))
        .AddSingleton<ExecSessions>()
        .AddSingleton<ContainerdAccess>()
        .AddSingleton<InstanceDefinitions>()
        .AddSingleton(provider => new Cgroups(options.CgroupParent, provider.GetRequiredService<TimeProvider>()))
        .AddSingleton(new SeccompProfiles(options.SeccompProfile, options.ForeignArchitectures))
        .AddSingleton<IInstanceDriver, ContainerdDriver>();
}
