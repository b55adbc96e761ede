using Hypervisor.Agent.Telemetry;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Each check by its own kind of probe, counted.</summary>
internal sealed class HealthProbes(NetworkHealthProbe network, ExecHealthProbe exec, AgentMetrics metrics) : IHealthProbe
{
    public async Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken)
    {
        var (probe, kind) = target.Check.CheckCase switch
        {
            HealthCheck.CheckOneofCase.Exec => ((IHealthProbe)exec, "exec"),
            HealthCheck.CheckOneofCase.Http => (network, "http"),
            _ => (network, "tcp"),
        };
        bool? succeeded = false;
        try
        {
            var result = await probe.CheckAsync(target, cancellationToken);
            succeeded = result?.Succeeded;
            return result;
        }
        finally
        {
            metrics.Checked(kind, succeeded);
        }
    }
}
