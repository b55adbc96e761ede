using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: no container starts without the CPU limit that was asked for.</summary>
public sealed class CpuLimitTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("cgroups-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(1500, 150_000, 100_000)]
    [InlineData(10, 1_000, 100_000)]
    [InlineData(9, 9_000, 1_000_000)]
    [InlineData(1, 1_000, 1_000_000)]
    public void A_quota_below_the_kernels_least_takes_a_longer_period(long millicores, long quota, long period) =>
        Assert.Equal(new CpuQuota(quota, period), CpuQuota.Of(millicores));

    [Fact]
    public void A_unified_hierarchy_takes_quota_and_period_in_one_file()
    {
        File.WriteAllText(Path.Combine(_root, "cgroup.controllers"), "cpu memory pids");
        var group = Directory.CreateDirectory(Path.Combine(_root, "ours", "uid")).FullName;
        File.WriteAllText(Path.Combine(group, "cpu.max"), "max 100000");

        Of("ours").LimitCpu("uid", 250);

        Assert.Equal("25000 100000", File.ReadAllText(Path.Combine(group, "cpu.max")));
    }

    [Fact]
    public void Separate_hierarchies_take_them_in_two()
    {
        Directory.CreateDirectory(Path.Combine(_root, "memory", "ours", "uid"));
        var group = Directory.CreateDirectory(Path.Combine(_root, "cpu", "ours", "uid")).FullName;
        File.WriteAllText(Path.Combine(group, "cpu.cfs_quota_us"), "-1");
        File.WriteAllText(Path.Combine(group, "cpu.cfs_period_us"), "100000");

        Of("ours").LimitCpu("uid", 5);

        Assert.Equal("5000", File.ReadAllText(Path.Combine(group, "cpu.cfs_quota_us")));
        Assert.Equal("1000000", File.ReadAllText(Path.Combine(group, "cpu.cfs_period_us")));
    }

    [Fact]
    public void A_group_without_the_controller_is_refused()
    {
        Directory.CreateDirectory(Path.Combine(_root, "memory", "ours", "uid"));
        Assert.Equal("CpuLimitFailed", Assert.Throws<DriverException>(() => Of("ours").LimitCpu("uid", 5)).Reason);
    }

    private Cgroups Of(string parent) => new(parent, RealClock.Instance, _root);
}
