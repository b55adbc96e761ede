using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Hypervisor.Agent.Guests.Disks;

namespace Hypervisor.Agent.Guests.Warm;

/// <summary>Which guests may go on from one and the same memory: a pure function of all that the memory, or the machine that it fits, depends on.</summary>
internal static class WarmKey
{
    /// <summary>64 hexadecimal digits, fit for a folder's name.</summary>
    /// <param name="root">The root disk's making and size: its blocks are in the memory.</param>
    /// <param name="kernel">Of kernel and initramfs.</param>
    /// <param name="monitor">Name and version of the VMM.</param>
    /// <param name="bootId">Of the host: another kernel of its may give guests another processor.</param>
    public static string Of(GuestMachine machine, DiskOrigin root, long rootBytes, string kernel, string monitor, string bootId) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join(
            '\n',
            root.Digest,
            root.Build,
            root.Path,
            Number(rootBytes),
            Number(machine.Limits.MemoryBytes),
            Number(machine.VirtualCpus),
            machine.Accelerator.ToString(),
            machine.Nic is { } nic ? Number(nic.Mtu) : "no network",
            kernel,
            monitor,
            bootId))));

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}
