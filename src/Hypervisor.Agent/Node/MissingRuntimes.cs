using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>What brings a driver for a type that this node cannot run, with Debian's package names.</summary>
internal static class MissingRuntimes
{
    public static string NameOf(InstanceType type) => type switch
    {
        InstanceType.Vm => "vm",
        InstanceType.Container => "container",
        InstanceType.Microvm => "microvm",
        _ => "unknown",
    };

    /// <summary>A clause that begins in lower case and has no full stop.</summary>
    public static string Remedy(InstanceType type) => type switch
    {
        InstanceType.Vm => "it needs libvirt: apt-get install libvirt-daemon-system qemu-system-x86",
        InstanceType.Container => "it needs containerd: apt-get install containerd runc",
        InstanceType.Microvm => "it needs QEMU (apt-get install qemu-system-x86) or Firecracker (not in Debian)",
        _ => "choose vm, container or microvm",
    };

    /// <summary>The entry of a type without a driver in this agent.</summary>
    public static RuntimeInfo Without(InstanceType type) => new()
    {
        Type = type,
        Available = false,
        Message = $"No driver: {Remedy(type)}.",
    };
}
