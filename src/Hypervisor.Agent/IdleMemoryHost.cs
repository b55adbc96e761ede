using Hypervisor.Hosting.Memory;

namespace Hypervisor.Agent;

/// <summary>Runs <see cref="IdleMemory"/> as long as the agent does.</summary>
internal sealed class IdleMemoryHost(TimeProvider time) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => new IdleMemory(time).RunAsync(stoppingToken);
}
