using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Agent.Images;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>Everything a rendered specification depends on.</summary>
/// <param name="NetworkNamespace">Path; null means a new, empty one.</param>
/// <param name="Files">Directory that holds hosts, hostname and resolv.conf.</param>
/// <param name="CgroupsPath">Absolute in each hierarchy.</param>
/// <param name="ShimGroup">Containers of the same group share a shim; null means a shim of its own.</param>
/// <param name="OpenFiles">The most that a process may raise its limit of open files to.</param>
internal sealed record SpecInput(
    Assignment Assignment,
    ImageDefaults Image,
    ProcessIdentity Identity,
    IReadOnlyList<string> Capabilities,
    SpecSeccomp? Seccomp,
    string? NetworkNamespace,
    string Files,
    string CgroupsPath,
    CgroupSupport Cgroups,
    string? ShimGroup,
    ulong OpenFiles = ContainerdLimits.OpenFiles);

/// <summary>Renders the OCI runtime specification of a container: a pure function.</summary>
internal static class SpecRenderer
{
    /// <summary>The shim's own name for "share a shim with others of the same value".</summary>
    public const string ShimGroupAnnotation = "io.containerd.runc.v2.group";

    private const string DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>Parts of /proc and /sys that tell of the host or act on it. Docker's list.</summary>
    private static readonly string[] MaskedPaths =
    [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
        "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
    ];

    private static readonly string[] ReadonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    /// <exception cref="DriverException">CommandMissing, WorkingDirectoryInvalid.</exception>
    public static RuntimeSpec Render(SpecInput input)
    {
        var spec = input.Assignment.Spec;
        var security = spec.Security ?? new SecuritySpec();
        var hostname = Hostname(input.Assignment);
        return new RuntimeSpec(
            "1.0.2",
            new SpecProcess(
                Terminal: spec.Process?.Terminal ?? false,
                new SpecUser(
                    input.Identity.Uid,
                    input.Identity.Gid,
                    input.Identity.AdditionalGids.Count == 0 ? null : input.Identity.AdditionalGids),
                Arguments(spec.Process, input.Image),
                Environment(spec.Process, input.Image, hostname),
                WorkingDirectory(spec.Process, input.Image),
                new SpecCapabilities(input.Capabilities, input.Capabilities, input.Capabilities),
                [new SpecRlimit("RLIMIT_NOFILE", input.OpenFiles, Math.Min(input.OpenFiles, ContainerdLimits.OpenFilesAtFirst))],
                NoNewPrivileges: true),
            new SpecRoot("rootfs", security.ReadOnlyRoot),
            hostname,
            Mounts(input.Files),
            input.ShimGroup is null ? null : new Dictionary<string, string> { [ShimGroupAnnotation] = input.ShimGroup },
            new SpecLinux(
                Namespaces(input),
                Resources(spec, input.Cgroups),
                input.CgroupsPath,
                input.Seccomp,
                MaskedPaths,
                ReadonlyPaths,
                "rprivate"));
    }

    public static string Hostname(Assignment assignment) => AssignedHostname.Of(assignment);

    private static string[] Arguments(ProcessSpec? process, ImageDefaults image)
    {
        var replaced = process is { Command.Count: > 0 };
        IEnumerable<string> command = replaced ? process!.Command : image.Entrypoint;
        IEnumerable<string> arguments = process is { Args.Count: > 0 } ? process.Args : replaced ? [] : image.Command;
        string[] all = [.. command, .. arguments];
        if (all.Length == 0 || all[0].Length == 0)
        {
            throw new DriverException("CommandMissing", "neither the image nor process.command names a command", permanent: true);
        }

        foreach (var argument in all)
        {
            RefuseNul("process.command and process.args", argument);
        }

        return all;
    }

    private static List<string> Environment(ProcessSpec? process, ImageDefaults image, string hostname)
    {
        var own = process?.Env.Select(variable => $"{variable.Name}={variable.Value}") ?? [];
        string[] terminal = process?.Terminal == true ? ["TERM=xterm"] : [];
        return Merge([DefaultPath, $"HOSTNAME={hostname}", .. terminal, .. image.Environment, .. own]);
    }

    /// <summary>One entry per name: the last value, at the first one's place.</summary>
    public static List<string> Merge(IEnumerable<string> entries)
    {
        var merged = new List<string>();
        var positions = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            RefuseNul("process.env", entry);
            var equals = entry.IndexOf('=');
            if (equals <= 0)
            {
                continue;
            }

            if (positions.TryAdd(entry[..equals], merged.Count))
            {
                merged.Add(entry);
            }
            else
            {
                merged[positions[entry[..equals]]] = entry;
            }
        }

        return merged;
    }

    /// <summary>
    /// A directory under /proc may be a file descriptor that leads out of the container (CVE-2024-21626); fixed runcs refuse it
    /// too, and no program has a reason to start there.
    /// </summary>
    private static string WorkingDirectory(ProcessSpec? process, ImageDefaults image)
    {
        var asked = process is { WorkingDir.Length: > 0 } ? process.WorkingDir : image.WorkingDirectory;
        return asked.Length == 0 ? "/" : WorkingDirectory(asked);
    }

    /// <exception cref="DriverException">WorkingDirectoryInvalid.</exception>
    public static string WorkingDirectory(string asked)
    {
        RefuseNul("process.working_dir", asked);
        var clean = asked.StartsWith('/') ? Path.GetFullPath(asked) : "";
        string[] refused = ["/proc", "/sys", "/dev/fd"];
        if (clean.Length == 0 || refused.Any(root => clean == root || clean.StartsWith(root + "/", StringComparison.Ordinal)))
        {
            throw new DriverException(
                "WorkingDirectoryInvalid",
                $"process.working_dir: \"{asked}\" is not an absolute path outside /proc, /sys and /dev/fd",
                permanent: true);
        }

        return clean;
    }

    private static SpecMount[] Mounts(string files) =>
    [
        new("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
        new("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        new("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        new("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        new("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        new("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        new("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
        BindFile("/etc/hosts", files + "/hosts"),
        BindFile("/etc/hostname", files + "/hostname"),
        BindFile("/etc/resolv.conf", files + "/resolv.conf"),
    ];

    /// <summary>Read-only: the files lie in the host's memory, which a container must not be able to fill.</summary>
    private static SpecMount BindFile(string destination, string source) =>
        new(destination, "bind", source, ["bind", "rprivate", "nosuid", "nodev", "noexec", "ro"]);

    private static List<SpecNamespace> Namespaces(SpecInput input)
    {
        List<SpecNamespace> namespaces =
        [
            new("pid", null), new("ipc", null), new("uts", null), new("mount", null), new("network", input.NetworkNamespace),
        ];
        if (input.Cgroups.Namespaces)
        {
            namespaces.Add(new("cgroup", null));
        }

        return namespaces;
    }

    /// <summary>What a container may use, at its start and while it runs.</summary>
    public static SpecLimits Limits(InstanceLimits limits, CgroupSupport cgroups) => new(
        limits.MemoryBytes > 0 ? new SpecMemory(limits.MemoryBytes, cgroups.SwapAccounting ? limits.MemoryBytes : null) : null,
        limits.CpuMillicores > 0 ? Cpu(limits.CpuMillicores) : null,
        new SpecPids(limits.Pids > 0 ? limits.Pids : ContainerdLimits.DefaultPids));

    private static SpecResources Resources(InstanceSpec spec, CgroupSupport cgroups)
    {
        var limits = Limits(InstanceLimits.Of(spec), cgroups);
        return new SpecResources([new SpecDeviceRule(Allow: false, "rwm")], limits.Memory, limits.Cpu, limits.Pids);
    }

    /// <summary>In the proportion that runtimes have agreed on: 1024 shares are one CPU.</summary>
    private static SpecCpu Cpu(long millicores) => new((ulong)Math.Clamp(millicores * 1024 / 1000, 2, 262_144));

    public static void RefuseNul(string field, string value)
    {
        if (value.Contains('\0', StringComparison.Ordinal))
        {
            throw new DriverException("ArgumentInvalid", $"{field}: a NUL character cannot be passed to a process", permanent: true);
        }
    }
}
