using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Checks what is to happen when a process ends or does not work.</summary>
internal static class RestartValidation
{
    public static void Check(RestartSpec? restart, string field, FieldViolations violations)
    {
        if (restart is null)
        {
            return;
        }

        TextChecks.Known(restart.Policy, $"{field}.policy", violations);
        TextChecks.Range(restart.MaxRestarts, 0, Limits.Instance.MaxRestarts, "restarts", $"{field}.max_restarts", violations);
        if (restart.MaxRestarts > 0 && restart.Policy is RestartPolicy.Unspecified or RestartPolicy.Never)
        {
            violations.Add($"{field}.max_restarts", "has no effect without a policy; set policy to RESTART_POLICY_ON_FAILURE or RESTART_POLICY_ALWAYS.");
        }
    }

    public static void Check(HealthCheck? health, string field, FieldViolations violations)
    {
        if (health is null)
        {
            return;
        }

        switch (health.CheckCase)
        {
            case HealthCheck.CheckOneofCase.Http:
                TextChecks.Range(health.Http.Port, 1, 65_535, "ports", $"{field}.http.port", violations);
                CheckPath(health.Http.Path, $"{field}.http.path", violations);
                break;
            case HealthCheck.CheckOneofCase.Tcp:
                TextChecks.Range(health.Tcp.Port, 1, 65_535, "ports", $"{field}.tcp.port", violations);
                break;
            case HealthCheck.CheckOneofCase.Exec:
                CheckCommand(health.Exec, $"{field}.exec", violations);
                break;
            default:
                violations.Add(field, "names no check: set http, tcp or exec.");
                break;
        }

        var interval = Limits.Instance.HealthInterval;
        Between(health.Interval, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1), $"{field}.interval", violations, ref interval);
        TimeSpan timeout = default, start = default;
        Between(health.Timeout, TimeSpan.FromMilliseconds(100), interval, $"{field}.timeout", violations, ref timeout);
        Between(health.StartPeriod, TimeSpan.Zero, TimeSpan.FromHours(1), $"{field}.start_period", violations, ref start);
        TextChecks.Range(health.FailureThreshold, 0, 100, "failures", $"{field}.failure_threshold", violations);
        TextChecks.Range(health.SuccessThreshold, 0, 100, "successes", $"{field}.success_threshold", violations);
        TextChecks.Known(health.OnUnhealthy, $"{field}.on_unhealthy", violations);
    }

    /// <summary>By the rules of the instance's own command.</summary>
    private static void CheckCommand(ExecCheck check, string field, FieldViolations violations)
    {
        if (check.Command.Count == 0)
        {
            violations.Add($"{field}.command", "is empty; its first word names the program.");
        }

        ProcessValidation.Check(new ProcessSpec { Command = { check.Command } }, field, violations);
    }

    private static void CheckPath(string path, string field, FieldViolations violations)
    {
        if (path.Length > Limits.Instance.HealthPathCharacters || path.Any(c => c is <= ' ' or > '~' or '#') || (path.Length > 0 && path[0] != '/'))
        {
            violations.Add(
                field, $"'{Printable.Quote(path)}' is not \"/\" followed by printable ASCII without spaces and '#', at most {Limits.Instance.HealthPathCharacters} characters.");
        }
    }

    private static void Between(Duration? value, TimeSpan least, TimeSpan most, string field, FieldViolations violations, ref TimeSpan result)
    {
        if (value is null)
        {
            return;
        }

        // ToTimeSpan throws for what no TimeSpan can hold; nothing allowed here comes near that.
        if (value.Nanos is < 0 or > 999_999_999 || value.Seconds is < 0 or > 1_000_000 || value.ToTimeSpan() is var given && (given < least || given > most))
        {
            violations.Add(field, $"is outside {least.TotalSeconds} s to {most.TotalSeconds} s.");
            return;
        }

        result = value.ToTimeSpan();
    }
}
