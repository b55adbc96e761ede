using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Agent.Drivers.Libvirt;

/// <summary>Guests to be given to libvirt.</summary>
internal static class Machines
{
    public const string Uid = "31111111-2222-4333-8444-555555555555";

    /// <summary>Of an OCI image, with our kernel and init.</summary>
    public static GuestMachine Direct() => new(new InstanceId(Uid), new Epoch(7), new Assignment { Uid = Uid, Spec = new InstanceSpec() }, Accelerator.Tcg)
    {
        VirtualCpus = 2,
        Limits = new InstanceLimits(1500, 192 << 20, 0),
        Boot = new DirectBoot("/boot/vmlinuz", "/boot/initramfs", "console=ttyS0 quiet"),
        Disks = [new GuestDisk("root", "/data/root", DiskFormat.Qcow2), new GuestDisk("config", "/data/config", DiskFormat.Raw, ReadOnly: true)],
        Nic = new GuestNic("hv-tap0", "02:00:0a:80:00:02", 1450),
        RunDirectory = "/run/v",
        ConsoleLog = "/data/console.log",
        OutputFiles = ("/logs/out", "/logs/err"),
    };

    /// <summary>Of a disk image, which boots itself.</summary>
    public static GuestMachine OfDisk(MachineSpec? machine = null) => Direct() with
    {
        MadeFrom = new Assignment { Uid = Uid, Spec = new InstanceSpec { Machine = machine } },
        Boot = null,
        OutputFiles = null,
        Disks =
        [
            new GuestDisk("root", "/data/root", DiskFormat.Qcow2) { Rate = new IoRate(1_000_000, 0, 0, 200) },
            new GuestDisk("a-disk-with-a-name-of-more-than-twenty", "/data/more", DiskFormat.Qcow2),
            new GuestDisk("seed", "/data/seed", DiskFormat.Raw, ReadOnly: true, CdRom: true),
        ],
    };
}
