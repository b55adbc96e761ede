using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Instances.Health;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances;

/// <summary>Whether a process that ended by itself is started again, as a pure function. When, says <see cref="RestartCount"/>.</summary>
internal static class RestartRules
{
    /// <param name="ended">Stopped, with its exit.</param>
    public static bool Wants(RestartSpec? spec, DriverInstance ended) =>
        ended.Exit is { } exit
        && IsAllowed(spec, ended)
        && spec?.Policy switch
        {
            RestartPolicy.Always => true,
            RestartPolicy.OnFailure => exit.Code != 0 || exit.Signal != 0 || exit.OutOfMemory,
            _ => false,
        };

    /// <summary>Ended because it does not work, to be started again.</summary>
    public static bool WantsEnd(InstanceSpec spec, DriverInstance running, HealthState health) =>
        health.Verdict == HealthVerdict.Unhealthy
        && spec.Health?.OnUnhealthy == UnhealthyAction.Restart
        && IsAllowed(spec.Restart, running);

    private static bool IsAllowed(RestartSpec? spec, DriverInstance found) => spec?.MaxRestarts is not > 0 || found.Restarts.Total < spec.MaxRestarts;
}
