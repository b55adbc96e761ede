using Hypervisor.Agent.Node;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: CapacitySafe begins with a machine that is not taken for larger than it is.</summary>
public sealed class LinuxHostTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("host").FullName;

    public LinuxHostTests()
    {
        Write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        Write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
        Write("proc/sys/kernel/random/boot_id", "0f0f\n");
        Write("sys/devices/system/cpu/online", "0-3\n");
        Write("etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
    }

    [Fact]
    public void Everything_is_read_from_the_machine()
    {
        var facts = Read();

        Assert.Equal((4000, 8L << 30), (facts.Capacity.CpuMillicores, facts.Capacity.MemoryBytes));
        Assert.Equal(("Debian GNU/Linux 12 (bookworm)", "6.1.0-18-amd64", "0f0f"), (facts.OperatingSystem, facts.KernelVersion, facts.BootId));
        Assert.True(facts.Capacity.DiskBytes > 0);
    }

    [Fact]
    public void A_lower_limit_of_cgroup_v2_counts()
    {
        Write("proc/self/cgroup", "0::/\n");
        Write("sys/fs/cgroup/cpu.max", "150000 100000\n");
        Write("sys/fs/cgroup/memory.max", "1073741824\n");

        Assert.Equal((1500, 1L << 30), (Read().Capacity.CpuMillicores, Read().Capacity.MemoryBytes));
    }

    [Fact]
    public void A_lower_limit_of_cgroup_v1_counts()
    {
        Write("proc/self/cgroup", "5:memory:/a/agent\n4:cpu,cpuacct:/a/agent\n");
        Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
        Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        Write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
        Write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n");

        Assert.Equal((500, 2L << 30), (Read().Capacity.CpuMillicores, Read().Capacity.MemoryBytes));
    }

    [Fact]
    public void The_limit_of_the_agents_own_service_and_unlimited_groups_do_not_count()
    {
        Write("proc/self/cgroup", "0::/system.slice/agent.service\n");
        Write("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
        Write("sys/fs/cgroup/system.slice/memory.max", "max\n");
        Write("sys/fs/cgroup/system.slice/agent.service/memory.max", "33554432\n");

        Assert.Equal((4000, 8L << 30), (Read().Capacity.CpuMillicores, Read().Capacity.MemoryBytes));
    }

    [Theory]
    [InlineData("0", 1)]
    [InlineData("0-7", 8)]
    [InlineData("0-1,4,6-7", 5)]
    public void Lists_of_processors_are_counted(string list, int expected) => Assert.Equal(expected, LinuxHost.CountCpus(list));

    [Fact]
    public void This_machine_can_be_read()
    {
        var facts = new LinuxHost("/var/lib/hypervisor/agent").Read();

        Assert.True(facts.Capacity is { CpuMillicores: >= 100, MemoryBytes: > 1 << 20, DiskBytes: > 0 });
        Assert.NotEmpty(facts.BootId);
        Assert.True(new BootTimeClock().Now > TimeSpan.Zero);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private HostFacts Read() => new LinuxHost(_root, _root).Read();

    private void Write(string path, string content)
    {
        var full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, content);
    }
}
