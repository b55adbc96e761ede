using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Output;

/// <summary>Quantities, ages and enum values as people write them.</summary>
internal static class Readable
{
    public static string Age(Timestamp? since, DateTimeOffset now) => since is null ? "" : Duration(now - since.ToDateTimeOffset());

    /// <summary>The two digits that matter: 45s, 12m, 7h, 3d.</summary>
    public static string Duration(TimeSpan duration) => duration switch
    {
        { Ticks: < 0 } => "0s",
        { TotalSeconds: < 120 } => $"{(int)duration.TotalSeconds}s",
        { TotalMinutes: < 120 } => $"{(int)duration.TotalMinutes}m",
        { TotalHours: < 48 } => $"{(int)duration.TotalHours}h",
        _ => $"{(int)duration.TotalDays}d",
    };

    public static string Bytes(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        var value = (double)bytes;
        var unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#}{units[unit]}");
    }

    public static string Cpus(long millicores) => (millicores / 1000m).ToString("0.###", CultureInfo.InvariantCulture);

    public static string Type(InstanceType type) => type switch
    {
        InstanceType.Vm => "vm",
        InstanceType.Container => "container",
        InstanceType.Microvm => "microvm",
        _ => "",
    };

    public static string Accelerator(Accelerator accelerator) =>
        accelerator == Protocol.V1.Accelerator.Unspecified ? "" : accelerator.ToString().ToLowerInvariant();

    public static string State(InstanceState state) => state == InstanceState.Unspecified ? "UNKNOWN" : state.ToString().ToUpperInvariant();

    public static string Wish(DesiredState state) =>
        state == DesiredState.Unspecified ? "RUNNING" : state.ToString().ToUpperInvariant();

    public static string Time(Timestamp? time) =>
        time is null ? "" : time.ToDateTimeOffset().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
