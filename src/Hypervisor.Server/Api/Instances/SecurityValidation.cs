using Google.Protobuf.Collections;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Instances;

/// <summary>What a user may change about an instance's confinement.</summary>
internal static class SecurityValidation
{
    // capabilities(7), Linux 6.1.
    private static readonly HashSet<string> Known = new(StringComparer.Ordinal)
    {
        "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE",
        "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN",
        "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID",
        "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYSLOG", "SYS_MODULE", "SYS_NICE", "SYS_PACCT",
        "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
    };

    // Each of them is a way to become root on the node: loading modules, raw memory and devices, open_by_handle_at, mounts.
    private static readonly HashSet<string> NodeControl = new(StringComparer.Ordinal)
    {
        "BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_RAWIO",
        "SYS_TIME", "SYSLOG",
    };

    public static void Check(SecuritySpec? security, InstanceType type, string field, FieldViolations violations)
    {
        if (security is null)
        {
            return;
        }

        TextChecks.Known(security.Seccomp, $"{field}.seccomp", violations);
        TextChecks.Range(security.PidsLimit, 0, Limits.Instance.MaxPids, "processes", $"{field}.pids_limit", violations);
        var added = Capabilities(security.CapabilitiesAdd, $"{field}.capabilities_add", violations);
        var dropped = Capabilities(security.CapabilitiesDrop, $"{field}.capabilities_drop", violations, allAllowed: true);
        foreach (var (name, index) in added)
        {
            if (NodeControl.Contains(name))
            {
                violations.Add($"{field}.capabilities_add[{index}]", $"{name} would hand the node to the instance and is never granted.");
            }

            if (dropped.Exists(other => other.Name == name))
            {
                violations.Add($"{field}.capabilities_add[{index}]", $"{name} is also in capabilities_drop.");
            }
        }

        if (type is InstanceType.Vm or InstanceType.Microvm)
        {
            var typeName = type == InstanceType.Vm ? "VM" : "MICROVM";
            TextChecks.Unsupported(security.CapabilitiesAdd.Count > 0, typeName, $"{field}.capabilities_add", violations);
            TextChecks.Unsupported(security.CapabilitiesDrop.Count > 0, typeName, $"{field}.capabilities_drop", violations);
            TextChecks.Unsupported(security.Seccomp != SeccompMode.Unspecified, typeName, $"{field}.seccomp", violations);
        }
    }

    private static List<(string Name, int Index)> Capabilities(
        RepeatedField<string> names, string field, FieldViolations violations, bool allAllowed = false)
    {
        TextChecks.Count(names.Count, Known.Count, field, violations);
        var known = new List<(string, int)>();
        for (var index = 0; index < Math.Min(names.Count, Known.Count); index++)
        {
            var name = names[index].StartsWith("CAP_", StringComparison.Ordinal) ? names[index][4..] : names[index];
            if (Known.Contains(name) || (allAllowed && name == "ALL"))
            {
                known.Add((name, index));
            }
            else
            {
                violations.Add($"{field}[{index}]", $"'{Printable.Quote(names[index])}' is not a capability, such as NET_ADMIN or CAP_NET_ADMIN.");
            }
        }

        return known;
    }
}
