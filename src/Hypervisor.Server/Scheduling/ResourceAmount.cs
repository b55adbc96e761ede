using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>An amount of schedulable things as a value: CPU in thousandths, memory and node-local storage in bytes.</summary>
internal readonly record struct ResourceAmount(long CpuMillicores, long MemoryBytes, long DiskBytes)
{
    public static ResourceAmount Of(Resources? resources) =>
        resources is null ? default : new(resources.CpuMillicores, resources.MemoryBytes, resources.DiskBytes);

    public Resources ToResources() => new() { CpuMillicores = CpuMillicores, MemoryBytes = MemoryBytes, DiskBytes = DiskBytes };

    public bool FitsIn(ResourceAmount free) =>
        CpuMillicores <= free.CpuMillicores && MemoryBytes <= free.MemoryBytes && DiskBytes <= free.DiskBytes;

    /// <summary>What this is more than another, each by itself; nothing where it is less.</summary>
    public ResourceAmount Beyond(ResourceAmount other) => new(
        Math.Max(0, CpuMillicores - other.CpuMillicores), Math.Max(0, MemoryBytes - other.MemoryBytes), Math.Max(0, DiskBytes - other.DiskBytes));

    public static ResourceAmount operator +(ResourceAmount left, ResourceAmount right) =>
        new(left.CpuMillicores + right.CpuMillicores, left.MemoryBytes + right.MemoryBytes, left.DiskBytes + right.DiskBytes);

    public static ResourceAmount operator -(ResourceAmount left, ResourceAmount right) =>
        new(left.CpuMillicores - right.CpuMillicores, left.MemoryBytes - right.MemoryBytes, left.DiskBytes - right.DiskBytes);

    /// <summary>"512 MiB", "1.5 GiB": at most one digit after the point.</summary>
    public static string BytesText(long bytes)
    {
        ReadOnlySpan<string> units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        var value = (double)Math.Max(bytes, 0);
        var unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        // Rounded down: "2 GiB free of the 2 GiB asked for" would puzzle.
        return string.Create(CultureInfo.InvariantCulture, $"{Math.Floor(value * 10) / 10:0.#} {units[unit]}");
    }

    /// <summary>"0.5", "2".</summary>
    public static string CpuText(long millicores) =>
        (Math.Max(millicores, 0) / 1000m).ToString("0.###", CultureInfo.InvariantCulture);
}
