namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>Which Linux capabilities a container gets.</summary>
internal static class Capabilities
{
    /// <summary>Docker's default set.</summary>
    public static readonly IReadOnlyList<string> Default =
    [
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
    ];

    /// <summary>What may be added: these act on the container's own namespaces and processes.</summary>
    private static readonly HashSet<string> Addable =
    [
        .. Default,
        "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_NET_ADMIN", "CAP_NET_BROADCAST",
        "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TTY_CONFIG",
    ];

    /// <summary>
    /// These reach the host (CAP_DAC_READ_SEARCH: open_by_handle_at leaves the container's root; CAP_SYS_ADMIN, CAP_SYS_MODULE,
    /// CAP_SYS_RAWIO, CAP_BPF…: the kernel itself): a container that needs them should be a virtual machine.
    /// </summary>
    private static readonly HashSet<string> HostWide =
    [
        "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH",
        "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE",
        "CAP_SYS_PACCT", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_WAKE_ALARM",
    ];

    /// <summary>The default set with additions and removals, sorted. "ALL" may be dropped; what is added after that stays.</summary>
    /// <exception cref="DriverException">CapabilityUnknown, CapabilityRefused.</exception>
    public static IReadOnlyList<string> Resolve(IEnumerable<string> add, IEnumerable<string> drop)
    {
        var granted = new SortedSet<string>(Default, StringComparer.Ordinal);
        foreach (var name in drop.Select(Canonical))
        {
            if (name == "CAP_ALL")
            {
                granted.Clear();
            }
            else if (Addable.Contains(name) || HostWide.Contains(name))
            {
                granted.Remove(name);
            }
            else
            {
                throw Unknown("capabilities_drop", name);
            }
        }

        foreach (var name in add.Select(Canonical))
        {
            if (name == "CAP_ALL" || HostWide.Contains(name))
            {
                throw new DriverException(
                    "CapabilityRefused",
                    $"security.capabilities_add: {name} is refused, as it gives power over the host; use an instance of type vm or microvm",
                    permanent: true);
            }

            if (!Addable.Contains(name))
            {
                throw Unknown("capabilities_add", name);
            }

            granted.Add(name);
        }

        return [.. granted];
    }

    private static string Canonical(string name)
    {
        var upper = name.ToUpperInvariant();
        return upper.StartsWith("CAP_", StringComparison.Ordinal) ? upper : "CAP_" + upper;
    }

    private static DriverException Unknown(string field, string name) =>
        new("CapabilityUnknown", $"security.{field}: there is no capability {name}", permanent: true);
}
