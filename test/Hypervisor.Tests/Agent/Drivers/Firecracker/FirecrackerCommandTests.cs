using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Protocol;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Firecracker;

/// <summary>The exact arguments of firecracker and its jailer, and by what a process is known again.</summary>
public sealed class FirecrackerCommandTests
{
    private static readonly InstanceId Id = new(Machines.Uid);
    private static readonly JailerOptions Jailer = new() { ChrootBase = "/var/lib/hypervisor/jails", NetworkNamespace = "/run/netns/hv" };

    [Fact]
    public void Starts_firecracker_with_its_id_and_a_socket_in_its_folder() =>
        Assert.Equal(["--id", Machines.Uid, "--api-sock", "sockets/api"], FirecrackerCommand.Plain(Id));

    [Fact]
    public void Gives_the_jailer_these_arguments_on_cgroup_version_2() => Assert.Equal(
        [
            "--id", Machines.Uid, "--exec-file", "/usr/bin/firecracker", "--uid", "1900000003", "--gid", "1900000003",
            "--chroot-base-dir", "/var/lib/hypervisor/jails", "--cgroup-version", "2", "--parent-cgroup", "hypervisor-microvms",
            "--cgroup", "cpu.max=150000 100000", "--netns", "/run/netns/hv", "--", "--api-sock", "sockets/api",
        ],
        FirecrackerCommand.Jailed(Id, "/usr/bin/firecracker", Jailer, 1_900_000_003, "/hypervisor-microvms", 1500));

    [Fact]
    public void Gives_the_jailer_these_arguments_on_cgroup_version_1() => Assert.Equal(
        [
            "--id", Machines.Uid, "--exec-file", "/usr/bin/firecracker", "--uid", "5", "--gid", "5",
            "--chroot-base-dir", "/var/lib/hypervisor/jails", "--cgroup-version", "1", "--parent-cgroup", "hypervisor-microvms",
            "--cgroup", "cpu.cfs_period_us=100000", "--cgroup", "cpu.cfs_quota_us=50000", "--", "--api-sock", "sockets/api",
        ],
        FirecrackerCommand.Jailed(
            Id, "/usr/bin/firecracker", Jailer with { CgroupVersion = 1, NetworkNamespace = null }, 5, "/hypervisor-microvms", 500));

    [Fact]
    public void Asks_for_no_cpu_limit_where_there_is_none() =>
        Assert.DoesNotContain("--cgroup", FirecrackerCommand.Jailed(Id, "/usr/bin/firecracker", Jailer, 5, "/x", 0));

    [Theory]
    [InlineData("")]
    [InlineData("-leading")]
    [InlineData("a b")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData("a,b")]
    [InlineData("a\nb")]
    [InlineData("a\0b")]
    [InlineData("12345678901234567890123456789012345678901234567890123456789012345")]
    public void Refuses_ids_that_are_more_than_a_name(string uid)
    {
        var error = Assert.Throws<DriverException>(() => FirecrackerCommand.Plain(new InstanceId(uid)));
        Assert.True(error.Permanent);
        Assert.DoesNotContain(error.Message, char.IsControl);
    }

    [Theory]
    [InlineData(true, "/usr/bin/firecracker", "--id", Machines.Uid, "--api-sock", "sockets/api")]
    [InlineData(true, "/firecracker", "--id", Machines.Uid, "--start-time-us", "1", "--start-time-cpu-us", "2", "--api-sock", "sockets/api")]
    [InlineData(true, "/usr/bin/jailer", "--id", Machines.Uid, "--exec-file", "/x", "--", "--api-sock", "sockets/api")]
    [InlineData(true, "/bin/sh", "-c", "read", "vmm", "in", "out", "err", "firecracker", "--id", Machines.Uid, "--api-sock", "sockets/api")]
    [InlineData(false, "/usr/bin/firecracker", "--id", "0197b7a0-0000-7000-8000-000000000002", "--api-sock", "sockets/api")]
    [InlineData(false, "/usr/bin/firecracker", "--api-sock", "sockets/api")]
    [InlineData(false, "/usr/bin/other", "--id", Machines.Uid)]
    [InlineData(false, "--id", Machines.Uid)]
    [InlineData(false)]
    public void Knows_the_processes_of_a_guest(bool ours, params string[] commandLine) => Assert.Equal(ours, FirecrackerCommand.IsOf(Id, commandLine));

    [Theory]
    [InlineData("1.13.1", true)]
    [InlineData("1.13.2", false)]
    [InlineData("1.14.0", true)]
    [InlineData("1.14.1", false)]
    [InlineData("1.17.0-dev", false)]
    public void Knows_jailers_that_follow_links(string version, bool vulnerable) => Assert.Equal(vulnerable, FirecrackerProbe.HasLinkRace(version));
}
