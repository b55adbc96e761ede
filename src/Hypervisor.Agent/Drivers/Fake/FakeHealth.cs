using Hypervisor.Agent.Instances.Health;

namespace Hypervisor.Agent.Drivers.Fake;

/// <summary>Finds every instance working that was not named, whatever is asked of it.</summary>
internal sealed class FakeHealth : IHealthProbe
{
    /// <summary>Addresses or uids of instances that do not work.</summary>
    public HashSet<string> Broken { get; } = new(StringComparer.Ordinal);

    /// <summary>Uids of instances that cannot be asked.</summary>
    public HashSet<string> Mute { get; } = new(StringComparer.Ordinal);

    /// <summary>What a failing check finds.</summary>
    public Func<string> Says { get; set; } = () => "broken";

    public Task<HealthResult?> CheckAsync(HealthTarget target, CancellationToken cancellationToken) => Task.FromResult<HealthResult?>(
        Mute.Contains(target.Id.Value) ? null
        : Broken.Contains(target.Address) || Broken.Contains(target.Id.Value) ? new HealthResult(false, Says())
        : new HealthResult(true, ""));
}
