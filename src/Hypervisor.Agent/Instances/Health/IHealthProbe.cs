using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Carries out one check of one instance.</summary>
internal interface IHealthProbe
{
    /// <param name="address">Of the instance on the node's network.</param>
    /// <param name="cancellationToken">Ends at the check's timeout; the probe then throws <see cref="OperationCanceledException"/>.</param>
    Task<HealthResult> CheckAsync(HealthCheck check, string address, CancellationToken cancellationToken);
}
