using System.Globalization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: what a container's process is given and what it is kept from, as the kernel sees it (cgroup v1).</summary>
public sealed class IsolationTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task The_process_is_confined()
    {
        var running = await host.StartAsync(host.Define());
        var status = ProcessStatus(running.ProcessId!.Value);
        Assert.Equal(("2", "1"), (status["Seccomp"], status["NoNewPrivs"]));
        // The bits of Docker's fourteen.
        const string docker = "00000000a80425fb";
        Assert.Equal((docker, docker, docker), (status["CapBnd"], status["CapEff"], status["CapPrm"]));
        Assert.Equal(("0000000000000000", "0000000000000000"), (status["CapInh"], status["CapAmb"]));
    }

    [Fact]
    public async Task Capabilities_are_added_and_dropped_and_unconfined_means_no_filter()
    {
        var definition = host.Define();
        definition.Assignment.Spec.Security = new SecuritySpec
        {
            CapabilitiesAdd = { "net_admin" },
            CapabilitiesDrop = { "ALL" },
            Seccomp = SeccompMode.Unconfined,
        };
        var status = ProcessStatus((await host.StartAsync(definition)).ProcessId!.Value);
        Assert.Equal((1UL << 12, "0"), (ulong.Parse(status["CapBnd"], NumberStyles.HexNumber, CultureInfo.InvariantCulture), status["Seccomp"]));
    }

    [Fact]
    public async Task Without_a_profile_only_unconfined_starts()
    {
        await using var own = new ContainerdHost();
        await own.InitializeAsync();
        own.ForgetEverything(options => options with { SeccompProfile = own.Run + "/none.json" });
        var error = await Assert.ThrowsAsync<DriverException>(() => own.Driver.CreateAsync(own.Define(), Cancel));
        Assert.Equal("SeccompProfileMissing", error.Reason);
        Assert.Contains("golang-github-containers-common", error.Message, StringComparison.Ordinal);
        var unconfined = own.Define();
        unconfined.Assignment.Spec.Security.Seccomp = SeccompMode.Unconfined;
        Assert.Equal(DriverState.Running, (await own.StartAsync(unconfined)).State);
        Assert.Contains("golang-github-containers-common", (await own.Driver.ProbeAsync(Cancel)).Warnings.Single(warning => warning.Reason == "NoSeccompProfile").Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Limits_are_set_in_the_kernel()
    {
        var definition = host.Define();
        definition.Assignment.Spec.Security.PidsLimit = 77;
        await host.StartAsync(definition);
        Assert.Equal((64L << 20).ToString(CultureInfo.InvariantCulture), Limit("memory", "memory.limit_in_bytes"));
        Assert.Equal((64L << 20).ToString(CultureInfo.InvariantCulture), Limit("memory", "memory.memsw.limit_in_bytes"));
        Assert.Equal(("50000", "100000", "512"), (Limit("cpu", "cpu.cfs_quota_us"), Limit("cpu", "cpu.cfs_period_us"), Limit("cpu", "cpu.shares")));
        Assert.Equal("77", Limit("pids", "pids.max"));

        // A second run is started from the record alone.
        await host.Driver.StopAsync(definition.Id, definition.Epoch, new StopPolicy(9, TimeSpan.Zero), Cancel);
        await host.Driver.StartAsync(definition.Id, definition.Epoch, Cancel);
        Assert.Equal(("50000", "100000", "512"), (Limit("cpu", "cpu.cfs_quota_us"), Limit("cpu", "cpu.cfs_period_us"), Limit("cpu", "cpu.shares")));

        string Limit(string controller, string file) =>
            File.ReadAllText($"/sys/fs/cgroup/{controller}{host.Cgroups.PathOf(definition.Id.Value)}/{file}").Trim();
    }

    [Fact]
    public Task The_environment_comes_from_image_and_spec() => host.AssertHoldsAsync(
        """[ "$FROM_IMAGE$OWN$HOSTNAME$PATH" = "12web/bin" ] && [ "$(pwd)" = /work ] && [ "$(cat marker)" = here ]""",
        definition => definition.Assignment.Spec.Process.Env.Add(new EnvVar { Name = "OWN", Value = "2" }));

    [Fact]
    public Task Root_is_read_only_when_asked_for() => host.AssertHoldsAsync(
        "! touch /tmp/x 2>/dev/null && touch /dev/shm/x", definition => definition.Assignment.Spec.Security.ReadOnlyRoot = true);

    [Fact]
    public Task A_named_user_has_its_groups() => host.AssertHoldsAsync(
        """[ "$(id -u):$(id -g):$(id -G)" = "1000:1001:1001 2000" ]""",
        definition => definition.Assignment.Spec.Process.User = "app");

    [Fact]
    public Task A_numeric_user_and_group_need_no_account() => host.AssertHoldsAsync(
        """[ "$(id -u):$(id -g)" = "4242:4343" ]""", definition => definition.Assignment.Spec.Process.User = "4242:4343");

    [Fact]
    public Task Names_are_resolved_as_asked() => host.AssertHoldsAsync(
        """[ "$(hostname)" = other ] && [ "$(cat /etc/hostname)" = other ] && [ "$(cat /etc/hosts | tail -n 1)" != "" ] && ! touch /etc/hosts 2>/dev/null""",
        definition => definition.Assignment.Spec.Process.Hostname = "other");

    [Fact]
    public async Task Parts_of_proc_and_sys_are_hidden()
    {
        await host.AssertHoldsAsync(
            """
            [ -z "$(cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null)" ] && ! echo 1 2>/dev/null >/proc/sys/kernel/panic \
              && ! echo b 2>/dev/null >/proc/sysrq-trigger && ! touch /sys/x 2>/dev/null && [ -z "$(cat /sys/firmware/* 2>/dev/null)" ]
            """);
    }

    [Fact]
    public async Task Host_devices_cannot_be_made()
    {
        await host.AssertHoldsAsync("/bin/busybox mknod /tmp/m b 254 0 && ! cat /tmp/m >/dev/null 2>&1");
    }

    [Theory]
    [InlineData("/proc/self/fd/7")]
    [InlineData("/work/../proc/self/cwd")]
    [InlineData("relative")]
    public async Task A_working_directory_that_may_leave_the_container_is_refused(string directory)
    {
        var definition = host.Define();
        definition.Assignment.Spec.Process.WorkingDir = directory;
        var error = await Assert.ThrowsAsync<DriverException>(() => host.Driver.CreateAsync(definition, Cancel));
        Assert.Equal(("WorkingDirectoryInvalid", true), (error.Reason, error.Permanent));
    }

    [Fact]
    public async Task A_process_that_writes_much_neither_blocks_nor_fills_a_disk()
    {
        await host.AssertHoldsAsync("dd if=/dev/zero bs=1M count=512");
        Assert.True(new DirectoryInfo(host.Run).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length) < 64 << 20);
    }
}
