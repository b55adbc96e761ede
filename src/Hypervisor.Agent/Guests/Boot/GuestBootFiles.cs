using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests.Boot;

/// <summary>The kernel and initramfs of guests made from OCI images; `scripts/guest.sh` makes them.</summary>
/// <param name="directory">Absolute; of the configuration.</param>
internal sealed class GuestBootFiles(string directory)
{
    /// <summary>A bzImage: for monitors that bring a firmware, which uncompresses it.</summary>
    public string CompressedKernel => Path.Combine(directory, "vmlinuz");

    /// <summary>An ELF file: Firecracker takes nothing else, and QEMU need not unpack it.</summary>
    public string Kernel => Path.Combine(directory, "vmlinux");

    public string Initramfs => Path.Combine(directory, "initramfs");

    /// <summary>What is missing, with what to do about it; null when everything is there.</summary>
    public string? Missing =>
        new[] { CompressedKernel, Kernel, Initramfs }.FirstOrDefault(path => !File.Exists(path)) is { } path
            ? $"{path} is missing: guests of OCI images need the kernel and initramfs that scripts/guest.sh makes; install them or name their folder in the configuration"
            : null;

    /// <exception cref="DriverException">GuestKernelMissing.</exception>
    public void Check()
    {
        if (Missing is { } missing)
        {
            throw new DriverException("GuestKernelMissing", missing, permanent: false);
        }
    }
}
