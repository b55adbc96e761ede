using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Agent.Drivers.Firecracker;

/// <summary>A machine that Firecracker can be; tests change one thing about it.</summary>
internal static class Machines
{
    public const string Uid = "0197b7a0-0000-7000-8000-000000000001";

    public static GuestMachine Small(string folder) => new(new InstanceId(Uid), new Epoch(7), new Assignment(), Accelerator.Kvm)
    {
        VirtualCpus = 2,
        Limits = new InstanceLimits(1500, 192L << 20, 0),
        Boot = new DirectBoot(Path.Combine(folder, "vmlinux"), Path.Combine(folder, "initrd"), "console=ttyS0 reboot=k panic=1"),
        Disks =
        [
            new GuestDisk("root", Path.Combine(folder, "root.raw"), DiskFormat.Raw) { Rate = new IoRate(20_000_000, 10_000_000, 0, 500) },
            new GuestDisk("config-1", Path.Combine(folder, "config.raw"), DiskFormat.Raw, ReadOnly: true),
        ],
        Nic = new GuestNic("hvt0", "02:00:0a:80:00:02", 1450),
        RunDirectory = Path.Combine(folder, "run"),
        ConsoleLog = Path.Combine(folder, "console.log"),
    };
}
