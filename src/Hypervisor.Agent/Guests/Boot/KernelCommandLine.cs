using System.Globalization;

namespace Hypervisor.Agent.Guests.Boot;

/// <summary>
/// What kernels are told that are started directly: ours, the same for every guest of a monitor, and those of kernel sets. No part of it comes
/// from a user.
/// </summary>
internal static class KernelCommandLine
{
    // panic=-1: a guest whose kernel dies ends at once (the monitors are told not to reset it).
    private const string Any = "console=ttyS0 panic=-1";

    /// <summary>QEMU's microvm machine; ACPI has to stay on, since Debian's kernel finds virtio-mmio devices by it only.</summary>
    /// <param name="tscKiloHertz">
    /// Under emulation, what <see cref="HostTimestampCounter"/> measured; null with KVM, which tells it to the guest. Without it the kernel
    /// measures it against a timer that emulation cannot keep in step on a busy node, gives up, and then waits for ever for a clock tick.
    /// </param>
    public static string OfMicrovm(long? tscKiloHertz) => Emulated($"{Any} pci=off reboot=t", tscKiloHertz);

    /// <summary>A PC with PCI: q35 under libvirt.</summary>
    /// <param name="tscKiloHertz">As for <see cref="OfMicrovm"/>; a PC has other clocks to measure against, so it is only faster.</param>
    public static string OfPc(long? tscKiloHertz) => Emulated(Any, tscKiloHertz);

    /// <summary>
    /// Firecracker ends when its guest resets by the keyboard controller (its own documentation's arguments). It appends the root device by
    /// itself, which our init does not ask for.
    /// </summary>
    public static string OfFirecracker() => $"{Any} reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd zixiao.end=reset";

    /// <summary>For our kernel and init.</summary>
    /// <param name="machine">One of the above.</param>
    // cryptomgr.notests, lsm=, audit=0: work at each start that nobody would notice the lack of.
    // random.trust_cpu: the config drive brings randomness of the host's anyway.
    // no5lvl: tables of a fifth level are for 64 TiB and more, and are walked by every access that an emulated processor has not at hand.
    public static string OfOurs(string machine) =>
        $"{machine} quiet no5lvl 8250.nr_uarts=1 cryptomgr.notests lsm= audit=0 random.trust_cpu=on net.ifnames=0";

    /// <summary>For a kernel set, whose root file system is the first disk.</summary>
    /// <param name="machine">One of the above.</param>
    public static string OfSet(string machine) => $"{machine} root=/dev/vda rw";

    private static string Emulated(string line, long? tscKiloHertz) =>
        tscKiloHertz is { } rate ? string.Create(CultureInfo.InvariantCulture, $"{line} tsc_early_khz={rate}") : line;
}
