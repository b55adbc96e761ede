using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Checks a spec as a user may write it, before defaults are filled in.</summary>
internal static class SpecValidation
{
    public static void Check(InstanceSpec spec, string field, FieldViolations violations)
    {
        if (spec.Type == InstanceType.Unspecified || !Enum.IsDefined(spec.Type))
        {
            violations.Add($"{field}.type", spec.Type == InstanceType.Unspecified
                ? "is required: INSTANCE_TYPE_CONTAINER, INSTANCE_TYPE_VM or INSTANCE_TYPE_MICROVM."
                : $"{(int)spec.Type} is not an instance type.");
        }

        if (!ImageReference.TryParse(spec.Image, out _))
        {
            violations.Add($"{field}.image", spec.Image.Length == 0
                ? $"is required: {ImageReference.Rule}."
                : $"'{Printable.Quote(spec.Image)}' is not an image reference: {ImageReference.Rule}.");
        }

        TextChecks.Known(spec.ImagePullPolicy, $"{field}.image_pull_policy", violations);
        CheckResources(spec.Resources, $"{field}.resources", violations);
        DiskValidation.Check(spec, $"{field}.disks", violations);
        RateValidation.Check(spec.DiskRates, $"{field}.disk_rates", violations);
        ProcessValidation.Check(spec.Process, $"{field}.process", violations);
        CheckLogs(spec.Logs, $"{field}.logs", violations);
        NetworkValidation.Check(spec.Network, $"{field}.network", violations);
        SecurityValidation.Check(spec.Security, spec.Type, $"{field}.security", violations);
        ConstraintsValidation.Check(spec.Constraints, $"{field}.constraints", violations);
        TextChecks.Known(spec.DesiredState, $"{field}.desired_state", violations);
        if (spec.DesiredState == DesiredState.Paused)
        {
            violations.Add($"{field}.desired_state", "an instance cannot be created paused; create it and call PauseInstance.");
        }

        if (spec.DesiredState == DesiredState.Suspended)
        {
            violations.Add($"{field}.desired_state", "an instance cannot be created suspended.");
        }

        MachineValidation.Check(spec, field, violations);
        CloudInitValidation.Check(spec.CloudInit, $"{field}.cloud_init", violations);
        CheckStop(spec.Stop, $"{field}.stop", violations);
        RestartValidation.Check(spec.Restart, $"{field}.restart", violations);
        RestartValidation.Check(spec.Health, $"{field}.health", violations);
        TextChecks.Known(spec.OnDisconnect, $"{field}.on_disconnect", violations);
        TextChecks.OutputOnly(spec.RestartGeneration != 0, $"{field}.restart_generation", violations);
        TextChecks.OutputOnly(spec.ImageDigest.Length > 0, $"{field}.image_digest", violations);
    }

    private static void CheckResources(Resources? resources, string field, FieldViolations violations)
    {
        if (resources is null)
        {
            return;
        }

        if (resources.CpuMillicores != 0)
        {
            TextChecks.Range(resources.CpuMillicores, 1, Limits.Instance.MaxCpuMillicores, "millicores", $"{field}.cpu_millicores", violations);
        }

        if (resources.MemoryBytes != 0)
        {
            TextChecks.Range(
                resources.MemoryBytes, Limits.Instance.MinMemoryBytes, Limits.Instance.MaxMemoryBytes, "bytes", $"{field}.memory_bytes", violations);
        }

        TextChecks.Range(resources.DiskBytes, 0, Limits.Instance.MaxDiskBytes, "bytes", $"{field}.disk_bytes", violations);
        DeviceChecks.Check(resources.Devices, $"{field}.devices", violations);
    }

    private static void CheckStop(StopSpec? stop, string field, FieldViolations violations)
    {
        if (stop is null)
        {
            return;
        }

        if (stop.Signal.Length > 0 && !Signals.IsKnown(stop.Signal))
        {
            violations.Add($"{field}.signal", $"'{Printable.Quote(stop.Signal)}' is neither a signal's name, such as SIGTERM, nor a number from 1 to 64.");
        }

        if (stop.GracePeriod is { } grace
            && (grace.Nanos is < 0 or > 999_999_999 || grace.Seconds < 0
                || grace.Seconds + (grace.Nanos > 0 ? 1 : 0) > (long)Limits.Instance.MaxGracePeriod.TotalSeconds))
        {
            violations.Add($"{field}.grace_period", $"is outside 0 s to {Limits.Instance.MaxGracePeriod.TotalSeconds} s.");
        }
    }

    private static void CheckLogs(LogSpec? logs, string field, FieldViolations violations)
    {
        if (logs is { MaxSizeBytes: not 0 })
        {
            TextChecks.Range(logs.MaxSizeBytes, 64 * 1024, 1L << 30, "bytes", $"{field}.max_size_bytes", violations);
        }

        if (logs is { MaxFiles: not 0 })
        {
            TextChecks.Range(logs.MaxFiles, 2, 100, "", $"{field}.max_files", violations);
        }
    }
}
