using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>Finds every instance working that was not named.</summary>
internal sealed class FakeHealth : IHealthProbe
{
    /// <summary>Addresses of instances that do not work.</summary>
    public HashSet<string> Broken { get; } = new(StringComparer.Ordinal);

    public Task<HealthResult> CheckAsync(HealthCheck check, string address, CancellationToken cancellationToken) =>
        Task.FromResult(Broken.Contains(address) ? new HealthResult(false, "broken") : new HealthResult(true, ""));
}
