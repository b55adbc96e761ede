using Hypervisor.Server.State;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Hypervisor.Server.Api;

/// <summary>Ready once there is a view to answer from, and while it follows the store.</summary>
internal sealed class ReadinessCheck(ClusterState state) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(Check());

    public HealthCheckResult Check()
    {
        if (!state.Loaded)
        {
            return HealthCheckResult.Unhealthy("The store has not been read yet.");
        }

        return state.Age <= Limits.Server.ReadyViewAge
            ? HealthCheckResult.Healthy($"The view is at revision {state.Revision}.")
            : HealthCheckResult.Unhealthy($"The store has not been heard from for {state.Age.TotalSeconds:0} s.");
    }
}
