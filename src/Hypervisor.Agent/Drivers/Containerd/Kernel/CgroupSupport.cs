namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>What the kernel's control groups offer here.</summary>
/// <param name="Unified">cgroup v2 alone; otherwise v1, perhaps with an empty v2 beside it.</param>
/// <param name="SwapAccounting">Swap can be limited.</param>
/// <param name="Namespaces">cgroup namespaces exist.</param>
internal sealed record CgroupSupport(bool Unified, bool SwapAccounting, bool Namespaces)
{
    /// <summary>What is read from and written to a device can be limited.</summary>
    public bool DiskRates { get; init; }

    public static CgroupSupport Probe(string root = Cgroups.DefaultRoot)
    {
        var unified = File.Exists(Path.Combine(root, "cgroup.controllers"));
        return new CgroupSupport(
            unified,
            // The root group of v2 has no limits of its own: the counter tells whether swap is accounted.
            unified ? File.Exists("/proc/swaps") : File.Exists(Path.Combine(root, "memory/memory.memsw.limit_in_bytes")),
            File.Exists("/proc/self/ns/cgroup"))
        {
            DiskRates = unified
                ? File.ReadAllText(Path.Combine(root, "cgroup.controllers")).Split([' ', '\n']).Contains("io")
                : File.Exists(Path.Combine(root, "blkio/blkio.throttle.read_bps_device")),
        };
    }
}
