using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Instances.Health;

/// <summary>Whether an instance works.</summary>
internal enum HealthVerdict
{
    /// <summary>Not checked yet, or not often enough to say.</summary>
    Unknown,
    Healthy,
    Unhealthy,
}

/// <summary>What one check found.</summary>
/// <param name="Message">Of a failure: a sentence for the user.</param>
internal readonly record struct HealthResult(bool Succeeded, string Message);

/// <summary>The verdict, and what speaks for another.</summary>
/// <param name="Successes">In a row, up to now.</param>
/// <param name="Failures">In a row, up to now.</param>
/// <param name="Message">Of the last failure that counted.</param>
internal readonly record struct HealthState(HealthVerdict Verdict, int Successes, int Failures, string Message)
{
    public static HealthState None => new(HealthVerdict.Unknown, 0, 0, "");
}

/// <summary>How checks become a verdict, as a pure function.</summary>
internal static class HealthRules
{
    /// <param name="check">With its defaults filled in.</param>
    /// <param name="ran">How long the process has run.</param>
    public static HealthState Next(HealthState state, HealthResult result, HealthCheck check, TimeSpan ran)
    {
        if (result.Succeeded)
        {
            var successes = state.Successes + 1;
            return new HealthState(successes >= check.SuccessThreshold ? HealthVerdict.Healthy : state.Verdict, successes, 0, state.Message);
        }

        if (ran < check.StartPeriod.ToTimeSpan())
        {
            return state with { Successes = 0 };
        }

        var failures = state.Failures + 1;
        return new HealthState(failures >= check.FailureThreshold ? HealthVerdict.Unhealthy : state.Verdict, 0, failures, result.Message);
    }
}
