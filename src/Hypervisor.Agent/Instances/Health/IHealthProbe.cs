namespace Hypervisor.Agent.Instances.Health;

/// <summary>Carries out one check of one instance.</summary>
internal interface IHealthProbe
{
    /// <param name="cancellationToken">Ends at the check's timeout; the probe then throws <see cref="OperationCanceledException"/>.</param>
    /// <returns>Null when the instance could not even be asked: that says nothing about it.</returns>
    Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken);
}
