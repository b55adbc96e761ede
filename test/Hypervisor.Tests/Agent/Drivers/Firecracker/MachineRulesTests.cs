using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Firecracker;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Firecracker;

/// <summary>What cannot be a Firecracker guest is refused with the field named, before anything is made.</summary>
public sealed class MachineRulesTests
{
    private static readonly GuestMachine Small = Machines.Small("/x");

    public static TheoryData<string, string> Hostile { get; } = new()
    {
        { "accelerator", "accelerator: firecracker has no Tcg" },
        { "cpus", "cpus: 33" },
        { "memory", "memory: 1000 bytes" },
        { "boot", "firecracker boots a kernel" },
        { "line feed", "kernel arguments" },
        { "nul", "kernel arguments" },
        { "long line", "kernel arguments" },
        { "qcow2", "raw disks only" },
        { "cdrom", "CD-ROM" },
        { "path as a name", "disk \"../etc\"" },
        { "underscore", "disk \"a_b\"" },
        { "twice", "the same name" },
        { "many", "disks: 25" },
        { "tap", "no name of an interface" },
        { "long tap", "no name of an interface" },
    };

    [Fact]
    public void Takes_a_machine_that_it_can_be() => MachineRules.Check(Small, new FirecrackerOptions());

    [Theory]
    [MemberData(nameof(Hostile))]
    public void Refuses(string what, string message)
    {
        var machine = what switch
        {
            "accelerator" => Small with { Accelerator = Accelerator.Tcg },
            "cpus" => Small with { VirtualCpus = 33 },
            "memory" => Small with { Limits = new InstanceLimits(0, 1000, 0) },
            "boot" => Small with { Boot = null },
            "line feed" => Line("a\nb"),
            "nul" => Line("a\0b"),
            "long line" => Line(new string('a', 2048)),
            "qcow2" => Disks(new GuestDisk("root", "/x", DiskFormat.Qcow2)),
            "cdrom" => Disks(new GuestDisk("seed", "/x", DiskFormat.Raw, CdRom: true)),
            "path as a name" => Disks(new GuestDisk("../etc", "/x", DiskFormat.Raw)),
            "underscore" => Disks(new GuestDisk("a_b", "/x", DiskFormat.Raw)),
            "twice" => Disks(new GuestDisk("a", "/x", DiskFormat.Raw), new GuestDisk("a", "/y", DiskFormat.Raw)),
            "many" => Disks([.. Enumerable.Range(0, 25).Select(index => new GuestDisk($"d{index}", "/x", DiskFormat.Raw))]),
            "tap" => Small with { Nic = Small.Nic! with { Tap = "a,script=x" } },
            _ => Small with { Nic = Small.Nic! with { Tap = "sixteen-letters-" } },
        };
        var error = Assert.Throws<DriverException>(() => MachineRules.Check(machine, new FirecrackerOptions()));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.True(error.Permanent);

        static GuestMachine Line(string line) => Small with { Boot = Small.Boot! with { CommandLine = line } };

        static GuestMachine Disks(params GuestDisk[] disks) => Small with { Disks = disks };
    }

    [Theory]
    [InlineData(1, 1, 1000)]
    [InlineData(5, 1, 200)]
    [InlineData(10, 1, 100)]
    [InlineData(1000, 100, 100)]
    public void Limits_by_buckets_that_fill_at_the_rate(long perSecond, long size, long milliseconds)
    {
        var bucket = MachineRules.RateLimiter(new IoRate(0, 0, perSecond, 0))!.Ops!;
        Assert.Equal((size, milliseconds), (bucket.Size, bucket.RefillTime));
    }

    [Fact]
    public void Says_no_mtu_to_a_firecracker_that_knows_none()
    {
        Assert.Null(MachineRules.Interface(Small.Nic!, "1.16.2").Mtu);
        Assert.Null(MachineRules.Interface(Small.Nic!, "nonsense").Mtu);
        Assert.Equal(1450, MachineRules.Interface(Small.Nic!, "1.17.0-dev").Mtu);
    }
}
