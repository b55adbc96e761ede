using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Waiting;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>What all runners of a node share.</summary>
/// <param name="Drivers">At most one per type, in a fixed order.</param>
/// <param name="Network">Null when the node's network is switched off.</param>
internal sealed record RunnerServices(
    IReadOnlyList<IInstanceDriver> Drivers,
    INodeNetwork? Network,
    IImageProvider Images,
    IHealthProbe Health,
    StatusReporter Reporter,
    TimeProvider Time,
    IRandomSource Random,
    ILogger<Runner> Logger)
{
    private readonly Dictionary<InstanceType, AdmissionGate> _starts =
        Drivers.ToDictionary(driver => driver.Type, _ => new AdmissionGate(Limits.ConcurrentStarts));

    /// <summary>
    /// Holds creates and starts of one type's runners to <see cref="Limits.ConcurrentStarts"/> at once. Of a type that has a driver.
    /// </summary>
    public AdmissionGate StartsOf(InstanceType type) => _starts[type];

    /// <summary>Likewise, of all runners, commands of health checks to <see cref="Limits.ConcurrentExecChecks"/>.</summary>
    public AdmissionGate ExecChecks { get; } = new(Limits.ConcurrentExecChecks);

    public IInstanceDriver? DriverOf(InstanceType type) => Drivers.FirstOrDefault(driver => driver.Type == type);
}
