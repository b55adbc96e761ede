using Containerd.Types;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: no container starts without the limits of CPU time and of its disk that were asked for.</summary>
public sealed class CgroupLimitTests : IDisposable
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
    public void A_disks_rates_are_one_line_for_its_device_in_a_unified_hierarchy()
    {
        File.WriteAllText(Path.Combine(_root, "cgroup.controllers"), "cpu io memory");
        var group = Directory.CreateDirectory(Path.Combine(_root, "ours", "uid")).FullName;
        File.WriteAllText(Path.Combine(group, "io.max"), "");

        Of("ours").LimitDisk("uid", "254:0", new IoRate(1 << 20, 0, 0, 100));

        Assert.Equal("254:0 rbps=1048576 wiops=100", File.ReadAllText(Path.Combine(group, "io.max")));
        Assert.True(CgroupSupport.Probe(_root).DiskRates);
        File.WriteAllText(Path.Combine(_root, "cgroup.controllers"), "cpu memory");
        Assert.False(CgroupSupport.Probe(_root).DiskRates);
    }

    [Fact]
    public void Separate_hierarchies_take_them_in_four()
    {
        Directory.CreateDirectory(Path.Combine(_root, "memory", "ours", "uid"));
        var group = Directory.CreateDirectory(Path.Combine(_root, "blkio", "ours", "uid")).FullName;
        File.WriteAllText(Path.Combine(group, "blkio.throttle.read_bps_device"), "");

        Of("ours").LimitDisk("uid", "254:0", new IoRate(1 << 20, 0, 0, 100));

        Assert.Equal(
            ["read_bps 254:0 1048576", "read_iops 254:0 0", "write_bps 254:0 0", "write_iops 254:0 100"],
            Directory.GetFiles(group).Order().Select(file => $"{Path.GetFileName(file)["blkio.throttle.".Length..^"_device".Length]} {File.ReadAllText(file)}"));
    }

    [Theory]
    [InlineData("254:0", "254:0")]
    [InlineData("254:1", "254:0")]
    [InlineData("8:0", null)]
    public void A_partition_is_limited_as_its_whole_disk(string device, string? expected)
    {
        foreach (var (folder, number) in new[] { ("devices/vda", "254:0"), ("devices/vda/vda1", "254:1") })
        {
            File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(_root, folder)).FullName, "dev"), number + "\n");
            Directory.CreateSymbolicLink(Path.Combine(_root, number), Path.Combine(_root, folder));
        }

        File.WriteAllText(Path.Combine(_root, "devices/vda/vda1/partition"), "1\n");

        Assert.Equal(expected, BlockDevice.WholeDisk(Path.Combine(_root, device)));
    }

    [Fact]
    public void A_root_file_system_lies_where_its_snapshotter_writes()
    {
        Assert.Equal("/c/9/fs", BlockDevice.FolderOf(new Mount { Type = "overlay", Source = "overlay", Options = { "workdir=/c/9/work", "upperdir=/c/9/fs", "lowerdir=/c/1/fs" } }));
        Assert.Equal("/c/9/fs", BlockDevice.FolderOf(new Mount { Type = "bind", Source = "/c/9/fs", Options = { "rw", "rbind" } }));
        Assert.Null(BlockDevice.FolderOf(new Mount { Type = "btrfs", Source = "/dev/vdb" }));

        // In memory there is no device.
        Assert.Null(BlockDevice.Of([new Mount { Type = "bind", Source = "/dev/shm" }]));
        Assert.Null(BlockDevice.Of([new Mount { Type = "bind", Source = "/no/such/folder" }]));
    }

    [Fact]
    public void A_group_without_the_controller_is_refused()
    {
        Directory.CreateDirectory(Path.Combine(_root, "memory", "ours", "uid"));
        Assert.Equal("DiskRateFailed", Assert.Throws<DriverException>(() => Of("ours").LimitDisk("uid", "254:0", new IoRate(1, 0, 0, 0))).Reason);
        Assert.Equal("CpuLimitFailed", Assert.Throws<DriverException>(() => Of("ours").LimitCpu("uid", 5)).Reason);
    }

    private Cgroups Of(string parent) => new(parent, RealClock.Instance, _root);
}
