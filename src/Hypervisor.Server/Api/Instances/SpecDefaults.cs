using Google.Protobuf.WellKnownTypes;
using Hypervisor.Hosting.Registries;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Api.Instances;

/// <summary>Writes out what a valid spec leaves open, so that a later change of a default changes no existing instance.</summary>
internal static class SpecDefaults
{
    public const long CpuMillicores = 1000;
    public const long MemoryBytes = 256L << 20;

    public static readonly TimeSpan GracePeriod = TimeSpan.FromSeconds(10);

    /// <returns>A copy.</returns>
    public static InstanceSpec Fill(InstanceSpec asked)
    {
        var spec = asked.Clone();
        spec.Image = ImageReference.TryParse(spec.Image, out var image) ? image.ToString() : spec.Image;
        if (spec.ImagePullPolicy == ImagePullPolicy.Unspecified)
        {
            spec.ImagePullPolicy = ImagePullPolicy.IfNotPresent;
        }

        spec.Resources ??= new();
        if (spec.Resources.CpuMillicores == 0)
        {
            spec.Resources.CpuMillicores = CpuMillicores;
        }

        if (spec.Resources.MemoryBytes == 0)
        {
            spec.Resources.MemoryBytes = MemoryBytes;
        }

        var kind = spec.Type == InstanceType.Vm ? DiskKind.Local : DiskKind.Ephemeral;
        if (spec.Disks.Count == 0)
        {
            spec.Disks.Add(new Disk { Name = DiskValidation.Root, Kind = kind });
        }

        foreach (var disk in spec.Disks)
        {
            disk.Kind = disk.Kind == DiskKind.Unspecified ? kind : disk.Kind;
        }

        if (spec.DesiredState == DesiredState.Unspecified)
        {
            spec.DesiredState = DesiredState.Running;
        }

        if (spec.OnDisconnect == DisconnectPolicy.Unspecified)
        {
            spec.OnDisconnect = DisconnectPolicy.Keep;
        }

        spec.Restart ??= new();
        if (spec.Restart.Policy == RestartPolicy.Unspecified)
        {
            spec.Restart.Policy = RestartPolicy.Never;
        }

        if (spec.Health is { } health)
        {
            Fill(health);
        }

        spec.Stop ??= new();
        spec.Stop.GracePeriod ??= Duration.FromTimeSpan(GracePeriod);
        return spec;
    }

    private static void Fill(HealthCheck health)
    {
        if (health.Http is { Path.Length: 0 } http)
        {
            http.Path = "/";
        }

        health.Interval ??= Duration.FromTimeSpan(Limits.Instance.HealthInterval);
        var timeout = health.CheckCase == HealthCheck.CheckOneofCase.Exec ? Limits.Instance.ExecCheckTimeout : Limits.Instance.HealthTimeout;
        health.Timeout ??= Duration.FromTimeSpan(timeout < health.Interval.ToTimeSpan() ? timeout : health.Interval.ToTimeSpan());
        health.StartPeriod ??= new();
        health.FailureThreshold = health.FailureThreshold == 0 ? 3 : health.FailureThreshold;
        health.SuccessThreshold = health.SuccessThreshold == 0 ? 1 : health.SuccessThreshold;
        if (health.OnUnhealthy == UnhealthyAction.Unspecified)
        {
            health.OnUnhealthy = UnhealthyAction.Report;
        }
    }
}
