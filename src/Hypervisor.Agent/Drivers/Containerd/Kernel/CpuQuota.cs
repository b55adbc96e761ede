namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>How much CPU time a control group may use, as the kernel counts it.</summary>
/// <param name="Quota">Microseconds of CPU time in each period.</param>
/// <param name="Period">Microseconds.</param>
internal readonly record struct CpuQuota(long Quota, long Period)
{
    private const long UsualPeriod = 100_000;

    /// <summary>The kernel's longest, for a limit that would be below its smallest quota in the usual one.</summary>
    private const long LongestPeriod = 1_000_000;

    /// <summary>The kernel's, microseconds.</summary>
    private const long SmallestQuota = 1_000;

    /// <param name="millicores">At least 1.</param>
    public static CpuQuota Of(long millicores)
    {
        var quota = millicores * UsualPeriod / 1000;
        return quota >= SmallestQuota
            ? new CpuQuota(quota, UsualPeriod)
            : new CpuQuota(millicores * LongestPeriod / 1000, LongestPeriod);
    }
}
