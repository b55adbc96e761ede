using System.Globalization;

namespace Hypervisor.Agent.Node;

/// <summary>What control groups above the agent leave of the machine; null where nothing limits.</summary>
/// <remarks>
/// The agent's own group does not count, unless it is the root of what can be seen (as inside a container): instances live
/// beside it, and a limit on the service would be taken for a limit of the machine.
/// Files: Documentation/admin-guide/cgroup-v2.rst (cpu.max, memory.max) and cgroup-v1 (cpu.cfs_quota_us, memory.limit_in_bytes).
/// </remarks>
internal readonly record struct CgroupLimits(long? CpuMillicores, long? MemoryBytes)
{
    // v1 shows "no limit" as the largest multiple of the page size.
    private const long Unlimited = long.MaxValue - 0xFFFF;

    public static CgroupLimits Read(string root)
    {
        var limits = default(CgroupLimits);
        var path = Path.Combine(root, "proc/self/cgroup");
        if (!File.Exists(path))
        {
            return limits;
        }

        // "hierarchy:controllers:path", cgroups(7); v2 has hierarchy 0 and no controllers.
        foreach (var parts in File.ReadLines(path).Select(line => line.Split(':', 3)).Where(parts => parts.Length == 3))
        {
            var controllers = parts[1].Split(',');
            foreach (var group in Ancestors(parts[2]))
            {
                var unified = Path.Combine(root, "sys/fs/cgroup", group);
                if (parts[1].Length == 0)
                {
                    limits = limits.Lowered(CpuMax(Text(unified, "cpu.max")), Number(unified, "memory.max"));
                }
                else if (controllers.Contains("cpu"))
                {
                    var folder = Path.Combine(root, "sys/fs/cgroup/cpu", group);
                    limits = limits.Lowered(Quota(Number(folder, "cpu.cfs_quota_us"), Number(folder, "cpu.cfs_period_us")), null);
                }
                else if (controllers.Contains("memory"))
                {
                    limits = limits.Lowered(null, Number(Path.Combine(root, "sys/fs/cgroup/memory", group), "memory.limit_in_bytes"));
                }
            }
        }

        return limits;
    }

    /// <summary>Relative to the hierarchy's root, the root first; without the group itself unless it is the root.</summary>
    private static IEnumerable<string> Ancestors(string group)
    {
        yield return "";
        var names = group.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (var depth = 1; depth < names.Length; depth++)
        {
            yield return string.Join('/', names.Take(depth));
        }
    }

    private CgroupLimits Lowered(long? cpu, long? memory) => new(Lower(CpuMillicores, cpu), Lower(MemoryBytes, memory));

    private static long? Lower(long? known, long? other) => other is > 0 and < Unlimited && (known is null || other < known) ? other : known;

    private static long? CpuMax(string? text) =>
        text?.Split(' ') is [var quota, var period] && long.TryParse(quota, CultureInfo.InvariantCulture, out var microseconds)
            ? Quota(microseconds, long.Parse(period, CultureInfo.InvariantCulture))
            : null;

    private static long? Quota(long? quota, long? period) => quota > 0 && period > 0 ? quota * 1000 / period : null;

    private static long? Number(string folder, string file) =>
        long.TryParse(Text(folder, file), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static string? Text(string folder, string file)
    {
        var path = Path.Combine(folder, file);
        return File.Exists(path) ? File.ReadAllText(path).Trim() : null;
    }
}
