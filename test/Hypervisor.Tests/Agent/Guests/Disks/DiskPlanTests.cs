using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Disks;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests.Disks;

/// <summary>Protects: which disks an instance gets, and that what cannot be is refused with field, value and remedy.</summary>
public sealed class DiskPlanTests
{
    private static readonly GuestImage _image = new("sha256:0", "/image", DiskFormat.Raw, 1 << 20, Process: null);

    [Theory]
    [InlineData(InstanceType.Vm, DiskKind.Local)]
    [InlineData(InstanceType.Microvm, DiskKind.Ephemeral)]
    public void An_instance_without_disks_has_a_root_disk_of_the_images_size(InstanceType type, DiskKind kind)
    {
        var disk = Assert.Single(DiskPlan.Of(new InstanceSpec { Type = type }, _image));

        Assert.Equal(new PlannedDisk("root", kind, 0, "disks"), disk);
        Assert.Equal(1 << 20, DiskPlan.SizeOf(disk, _image));
    }

    [Fact]
    public void The_root_disk_comes_first_and_the_others_as_listed()
    {
        var spec = new InstanceSpec
        {
            Type = InstanceType.Vm,
            Disks = { new Disk { Name = "b", SizeBytes = 5000 }, new Disk { Name = "root" }, new Disk { Name = "a", SizeBytes = 4096, Kind = DiskKind.Ephemeral } },
        };

        Assert.Equal(
            [new("root", DiskKind.Local, 0, "disks[1]"), new("b", DiskKind.Local, 8192, "disks[0]"), new("a", DiskKind.Ephemeral, 4096, "disks[2]")],
            DiskPlan.Of(spec, _image));
    }

    [Theory]
    [InlineData("root", 1000, DiskKind.Local, "disks[0].size_bytes is 4096, and the image's disk has 1048576; ask for at least as much, or for 0")]
    [InlineData("data", 0, DiskKind.Local, "disks[0].size_bytes is 0")]
    [InlineData("data", -1, DiskKind.Local, "disks[0].size_bytes is -1")]
    [InlineData("data", long.MaxValue, DiskKind.Local, "disks[0].size_bytes is 9223372036854775807; a disk has at most")]
    [InlineData("data", 4096, DiskKind.Shared, "disks[0].kind is SHARED")]
    [InlineData("../x", 4096, DiskKind.Local, "disks[0].name is \"../x\"")]
    [InlineData("-b", 4096, DiskKind.Local, "disks[0].name is \"-b\"")]
    [InlineData("a,b", 4096, DiskKind.Local, "disks[0].name is \"a,b\"")]
    [InlineData("", 4096, DiskKind.Local, "disks[0].name is \"\"")]
    [InlineData("longer-than-a-serial-number", 4096, DiskKind.Local, "disks[0].name is \"longer")]
    public void A_disk_that_cannot_be_is_refused(string name, long size, DiskKind kind, string message)
    {
        var spec = new InstanceSpec { Type = InstanceType.Vm, Disks = { new Disk { Name = name, SizeBytes = size, Kind = kind } } };

        var refusal = Assert.Throws<DriverException>(() => DiskPlan.Of(spec, _image));

        Assert.Equal("DiskInvalid", refusal.Reason);
        Assert.True(refusal.Permanent);
        Assert.StartsWith(message, refusal.Message, StringComparison.Ordinal);
    }
}
