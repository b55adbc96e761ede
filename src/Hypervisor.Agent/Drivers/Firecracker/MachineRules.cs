using Hypervisor.Agent.Drivers.Firecracker.Api;
using Hypervisor.Agent.Guests;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>What of a machine Firecracker can be, and in whose words: pure.</summary>
internal static class MachineRules
{
    public const string NetworkInterface = "eth0";

    /// <summary>Each machine has a host side of its own, so that all may have the same number.</summary>
    public const int GuestContextId = 3;

    private const int InterfaceNameBytes = 15;
    private const int RefillMilliseconds = 100;

    /// <exception cref="DriverException">GuestInvalid, naming the field.</exception>
    public static void Check(GuestMachine machine, FirecrackerOptions options)
    {
        FirecrackerCommand.Checked(machine.Id);
        Require(options.Accelerators.Contains(machine.Accelerator), $"accelerator: firecracker has no {machine.Accelerator}; use a node whose microVMs run in QEMU");
        Require(machine.VirtualCpus is >= 1 and <= FirecrackerLimits.VirtualCpus, $"cpus: {machine.VirtualCpus}: firecracker takes 1 to {FirecrackerLimits.VirtualCpus}");
        Require(MemoryMiB(machine) >= 1, $"memory: {machine.Limits.MemoryBytes} bytes: a microVM needs a whole MiB at least");
        Require(machine.Boot is not null, "image: firecracker boots a kernel, not a disk; use an OCI image, or type vm");
        Require(IsPrintable(machine.Boot!.CommandLine) && machine.Boot.CommandLine.Length <= FirecrackerLimits.CommandLineBytes,
            $"kernel arguments: at most {FirecrackerLimits.CommandLineBytes} printable ASCII characters are needed");
        Require(machine.Disks.Count <= FirecrackerLimits.Drives, $"disks: {machine.Disks.Count}: firecracker takes {FirecrackerLimits.Drives}");
        Require(machine.Disks.Select(disk => disk.Name).Distinct(StringComparer.Ordinal).Count() == machine.Disks.Count, "disks: two have the same name");
        foreach (var disk in machine.Disks)
        {
            Require(IsName(disk.Name), $"disk \"{FirecrackerCommand.Clean(disk.Name)}\": small letters, digits and hyphens are needed");
            Require(disk.Format == DiskFormat.Raw, $"disk {disk.Name}: its format is {disk.Format}, and firecracker has raw disks only");
            Require(!disk.CdRom, $"disk {disk.Name}: firecracker has no CD-ROM drive");
        }

        if (machine.Nic is { } nic)
        {
            Require(nic.Tap.Length is > 0 and <= InterfaceNameBytes && nic.Tap.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.'),
                $"network: \"{FirecrackerCommand.Clean(nic.Tap)}\" is no name of an interface");
        }

        static void Require(bool holds, string message)
        {
            if (!holds)
            {
                throw new DriverException(FirecrackerCommand.GuestInvalid, message, permanent: true);
            }
        }
    }

    public static long MemoryMiB(GuestMachine machine) => machine.Limits.MemoryBytes >> 20;

    public static MachineConfigurationBody Configuration(GuestMachine machine, bool trackDirtyPages) =>
        new(machine.VirtualCpus, MemoryMiB(machine), Smt: false, trackDirtyPages);

    public static BootSourceBody BootSource(DirectBoot boot) => new(GuestFiles.Kernel, GuestFiles.Initramfs, boot.CommandLine);

    /// <summary>In the guest's order: firecracker keeps it, but for a root device, which always comes first.</summary>
    public static IEnumerable<DriveBody> Drives(GuestMachine machine) => machine.Disks.Select((disk, index) => new DriveBody(
        GuestFiles.DriveId(disk.Name),
        GuestFiles.Disk(disk.Name),
        IsRootDevice: index == 0 && disk.Name == "root",
        disk.ReadOnly,
        // What a guest has flushed is on the disk, as under the other VMMs.
        CacheType: disk.ReadOnly ? "Unsafe" : "Writeback",
        IoEngine: "Sync",
        RateLimiter(disk.Rate)));

    /// <param name="version">Of firecracker: before 1.17 it knows no MTU, and the guest's init sets it alone.</param>
    public static NetworkInterfaceBody Interface(GuestNic nic, string version) => new(
        NetworkInterface, nic.Tap, nic.HardwareAddress, IsAtLeast(version, 1, 17) ? nic.Mtu : null);

    /// <summary>Firecracker counts both directions together: the lower rate is for both, so that neither is exceeded.</summary>
    public static RateLimiterBody? RateLimiter(IoRate? rate) => rate is null
        ? null
        : new RateLimiterBody(Bucket(Lower(rate.ReadBytes, rate.WriteBytes)), Bucket(Lower(rate.ReadOperations, rate.WriteOperations)));

    private static long Lower(long read, long write) => read == 0 || write == 0 ? read + write : Math.Min(read, write);

    public static SnapshotLoadBody Load(GuestMachine machine, bool trackDirtyPages) => new(
        GuestFiles.RestoredState,
        new MemoryBackendBody("File", GuestFiles.RestoredMemory),
        trackDirtyPages,
        ResumeVm: !machine.StayPaused,
        machine.Nic is { } nic ? [new NetworkOverrideBody(NetworkInterface, nic.Tap)] : null);

    /// <summary>Short periods: a guest does not stand still for most of a second, and then get all at once.</summary>
    private static TokenBucketBody? Bucket(long perSecond) => perSecond == 0
        ? null
        : new TokenBucketBody(Math.Max(1, perSecond * RefillMilliseconds / 1000), perSecond * RefillMilliseconds / 1000 >= 1 ? RefillMilliseconds : 1000 / perSecond);

    private static bool IsAtLeast(string version, int major, int minor)
    {
        var numbers = version.TrimStart('v').Split('.', '-');
        return numbers.Length >= 2 && int.TryParse(numbers[0], out var first) && int.TryParse(numbers[1], out var second)
            && (first, second).CompareTo((major, minor)) >= 0;
    }

    private static bool IsPrintable(string text) => text.All(character => character is >= ' ' and <= '~');

    private static bool IsName(string name) =>
        name.Length is > 0 and <= 20 && name.All(character => char.IsAsciiLetterLower(character) || char.IsAsciiDigit(character) || character == '-');
}
