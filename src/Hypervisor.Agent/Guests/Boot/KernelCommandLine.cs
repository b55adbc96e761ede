using System.Globalization;

namespace Hypervisor.Agent.Guests.Boot;

/// <summary>What a kernel of ours is told; the same for every guest of a monitor. No part of it comes from a user.</summary>
internal static class KernelCommandLine
{
    // panic=-1: a guest whose kernel dies ends at once (the monitors are told not to reset it).
    // cryptomgr.notests, lsm=, audit=0: work at each start that nobody would notice the lack of.
    // random.trust_cpu: the config drive brings randomness of the host's anyway.
    private const string Common =
        "console=ttyS0 quiet panic=-1 8250.nr_uarts=1 cryptomgr.notests lsm= audit=0 random.trust_cpu=on net.ifnames=0";

    /// <summary>QEMU's microvm machine; ACPI has to stay on, since Debian's kernel finds virtio-mmio devices by it only.</summary>
    /// <param name="tscKiloHertz">
    /// Under emulation, what <see cref="HostTimestampCounter"/> measured; null with KVM, which tells it to the guest. Without it the kernel
    /// measures it against a timer that emulation cannot keep in step on a busy node, gives up, and then waits for ever for a clock tick.
    /// </param>
    public static string OfMicrovm(long? tscKiloHertz) => Emulated($"{Common} pci=off reboot=t", tscKiloHertz);

    /// <summary>A PC with PCI: q35 under libvirt.</summary>
    /// <param name="tscKiloHertz">As for <see cref="OfMicrovm"/>; a PC has other clocks to measure against, so it is only faster.</param>
    public static string OfPc(long? tscKiloHertz) => Emulated(Common, tscKiloHertz);

    /// <summary>
    /// Firecracker ends when its guest resets by the keyboard controller (its own documentation's arguments). It appends the root device by
    /// itself, which our init does not ask for.
    /// </summary>
    public static string OfFirecracker() =>
        $"{Common} reboot=k pci=off i8042.noaux i8042.nomux i8042.dumbkbd zixiao.end=reset";

    private static string Emulated(string line, long? tscKiloHertz) =>
        tscKiloHertz is { } rate ? string.Create(CultureInfo.InvariantCulture, $"{line} tsc_early_khz={rate}") : line;
}
