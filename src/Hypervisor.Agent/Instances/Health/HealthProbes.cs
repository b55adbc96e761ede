using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Each check by its own kind of probe.</summary>
internal sealed class HealthProbes(NetworkHealthProbe network, ExecHealthProbe exec) : IHealthProbe
{
    public Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken) =>
        target.Check.CheckCase == HealthCheck.CheckOneofCase.Exec
            ? exec.CheckAsync(target, cancellationToken)
            : network.CheckAsync(target, cancellationToken);
}
