using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Drivers.Containerd.Spec;
using Hypervisor.Agent.Images;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: what a container is allowed, limited to and told, field by field, on cgroup v1 and v2.</summary>
public sealed class SpecRendererTests
{
    private static readonly CgroupSupport V1 = new(Unified: false, SwapAccounting: true, Namespaces: true);
    private static readonly CgroupSupport V2 = new(Unified: true, SwapAccounting: true, Namespaces: true);
    private static readonly ImageDefaults Image = new(["/entry"], ["default"], ["PATH=/bin", "A=image"], "", "", "");

    [Fact]
    public void Command_and_arguments_follow_the_image_unless_replaced()
    {
        Assert.Equal(["/entry", "default"], Render(_ => { }).Process.Args);
        Assert.Equal(["/entry", "x"], Render(spec => spec.Process.Args.Add("x")).Process.Args);
        Assert.Equal(["/own"], Render(spec => spec.Process.Command.Add("/own")).Process.Args);
        Assert.Equal(["/own", "x"], Render(spec => { spec.Process.Command.Add("/own"); spec.Process.Args.Add("x"); }).Process.Args);
    }

    [Theory]
    [InlineData("with space")]
    [InlineData("-dash")]
    [InlineData("a,b=c")]
    [InlineData("line\nbreak")]
    [InlineData("\"quote\\")]
    public void Arguments_arrive_exactly(string argument)
    {
        var json = Render(spec => spec.Process.Args.Add(argument)).ToJson();
        using var parsed = System.Text.Json.JsonDocument.Parse(json);
        Assert.Equal(argument, parsed.RootElement.GetProperty("process").GetProperty("args")[1].GetString());
    }

    [Fact]
    public void A_nul_is_refused() =>
        Assert.Equal("ArgumentInvalid", Assert.Throws<DriverException>(() => Render(spec => spec.Process.Args.Add("a\0b"))).Reason);

    [Fact]
    public void Nothing_to_run_is_refused() => Assert.Equal(
        "CommandMissing",
        Assert.Throws<DriverException>(() => SpecRenderer.Render(Input(_ => { }) with { Image = Image with { Entrypoint = [], Command = [] } })).Reason);

    [Fact]
    public void Later_variables_win_in_the_place_of_the_first()
    {
        var process = Render(spec => spec.Process.Env.Add([new EnvVar { Name = "A", Value = "own" }, new EnvVar { Name = "B", Value = "" }])).Process;
        Assert.Equal(["PATH=/bin", "HOSTNAME=web", "A=own", "B="], process.Env);
    }

    [Fact]
    public void A_path_is_there_although_the_image_has_none()
    {
        var spec = SpecRenderer.Render(Input(_ => { }) with { Image = Image with { Environment = [] } });
        Assert.StartsWith("PATH=/usr/local/sbin:", spec.Process.Env[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/srv/../srv/./x", "/srv/x")]
    [InlineData("", "/")]
    [InlineData("/processes", "/processes")]
    public void Working_directories_are_cleaned(string asked, string expected) =>
        Assert.Equal(expected, Render(spec => spec.Process.WorkingDir = asked).Process.Cwd);

    [Theory]
    [InlineData("/proc/self/fd/7")]
    [InlineData("/srv/../proc/self/cwd")]
    [InlineData("/proc")]
    [InlineData("/dev/fd/8")]
    [InlineData("srv")]
    public void Working_directories_that_may_leave_the_container_are_refused(string asked) => Assert.Equal(
        "WorkingDirectoryInvalid", Assert.Throws<DriverException>(() => Render(spec => spec.Process.WorkingDir = asked)).Reason);

    [Fact]
    public void Privileges_are_bounded()
    {
        var spec = Render(s => s.Security.ReadOnlyRoot = true);
        Assert.True(spec.Process.NoNewPrivileges);
        Assert.True(spec.Root.Readonly);
        Assert.Equal(["CAP_KILL"], spec.Process.Capabilities.Bounding);
        Assert.Equal([new SpecDeviceRule(false, "rwm")], spec.Linux.Resources.Devices);
        Assert.Contains("/proc/kcore", spec.Linux.MaskedPaths);
        Assert.Contains("/proc/sys", spec.Linux.ReadonlyPaths);
        Assert.DoesNotContain("inheritable", Encoding.UTF8.GetString(spec.ToJson()), StringComparison.Ordinal);
        Assert.DoesNotContain("ambient", Encoding.UTF8.GetString(spec.ToJson()), StringComparison.Ordinal);
    }

    [Fact]
    public void Limits_are_memory_without_swap_shares_and_pids()
    {
        var resources = Render(_ => { }).Linux.Resources;
        Assert.Equal(new SpecMemory(64 << 20, 64 << 20), resources.Memory);
        Assert.Equal(new SpecCpu(1536), resources.Cpu);
        Assert.Equal(new SpecPids(4096), resources.Pids);
        Assert.Equal(new SpecPids(9), Render(spec => spec.Security.PidsLimit = 9).Linux.Resources.Pids);
    }

    [Fact]
    public void Shares_are_never_below_the_kernels_least() =>
        Assert.Equal(new SpecCpu(2), Render(spec => spec.Resources.CpuMillicores = 1).Linux.Resources.Cpu);

    [Fact]
    public void Without_swap_accounting_no_swap_limit_is_set() =>
        Assert.Null(SpecRenderer.Render(Input(_ => { }) with { Cgroups = V1 with { SwapAccounting = false } }).Linux.Resources.Memory!.Swap);

    [Fact]
    public void Both_versions_of_cgroups_are_told_the_same()
    {
        var first = SpecRenderer.Render(Input(_ => { }));
        var second = SpecRenderer.Render(Input(_ => { }) with { Cgroups = V2 });
        // runc translates limits and the kind of mount; the path is absolute in each hierarchy.
        Assert.Equal(Encoding.UTF8.GetString(first.ToJson()), Encoding.UTF8.GetString(second.ToJson()));
        Assert.Equal("/parent/uid", second.Linux.CgroupsPath);
        Assert.Contains(second.Mounts, mount => mount is { Destination: "/sys/fs/cgroup", Type: "cgroup" } && mount.Options.Contains("ro"));
    }

    [Fact]
    public void Namespaces_are_new_but_for_the_network_that_was_made()
    {
        Assert.Equal(["pid", "ipc", "uts", "mount", "network", "cgroup"], Render(_ => { }).Linux.Namespaces.Select(n => n.Type));
        Assert.All(Render(_ => { }).Linux.Namespaces, n => Assert.Equal(n.Type == "network" ? "/run/netns/x" : null, n.Path));
        var old = SpecRenderer.Render(Input(_ => { }) with { Cgroups = V1 with { Namespaces = false }, NetworkNamespace = null });
        Assert.All(old.Linux.Namespaces, n => Assert.Null(n.Path));
        Assert.DoesNotContain(old.Linux.Namespaces, n => n.Type == "cgroup");
    }

    [Fact]
    public void Files_of_the_host_are_bound_read_only()
    {
        var binds = Render(_ => { }).Mounts.Where(mount => mount.Type == "bind").ToList();
        Assert.Equal(["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"], binds.Select(mount => mount.Destination));
        Assert.All(binds, mount => Assert.Contains("ro", mount.Options));
    }

    [Fact]
    public void The_hostname_is_the_instances_name_unless_given()
    {
        Assert.Equal("web", Render(_ => { }).Hostname);
        Assert.Equal("other", Render(spec => spec.Process.Hostname = "other").Hostname);
    }

    [Fact]
    public void A_shared_shim_is_an_annotation()
    {
        Assert.Null(Render(_ => { }).Annotations);
        Assert.Equal("g", SpecRenderer.Render(Input(_ => { }) with { ShimGroup = "g" }).Annotations!["io.containerd.runc.v2.group"]);
    }

    private static RuntimeSpec Render(Action<InstanceSpec> change) => SpecRenderer.Render(Input(change));

    private static SpecInput Input(Action<InstanceSpec> change)
    {
        var spec = new InstanceSpec
        {
            Resources = new Resources { CpuMillicores = 1500, MemoryBytes = 64 << 20 },
            Process = new ProcessSpec(),
            Security = new SecuritySpec(),
        };
        change(spec);
        return new SpecInput(
            new Assignment { Uid = "uid", Name = "web", Spec = spec }, Image, ProcessIdentity.Root, ["CAP_KILL"], null, "/run/netns/x", "/files",
            "/parent/uid", V1, null);
    }
}
