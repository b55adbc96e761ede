using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>One disk that an instance shall have.</summary>
/// <param name="Field">In the specification, for whoever has to change it.</param>
/// <param name="SizeBytes">0 for the image's.</param>
internal sealed record PlannedDisk(string Name, DiskKind Kind, long SizeBytes, string Field);

/// <summary>Which disks a specification asks for.</summary>
internal static class DiskPlan
{
    public const string Root = "root";

    /// <summary>The root disk first, then the others as they are listed.</summary>
    /// <exception cref="DriverException">DiskInvalid.</exception>
    public static IReadOnlyList<PlannedDisk> Of(InstanceSpec spec, GuestImage image)
    {
        var usual = spec.Type == InstanceType.Vm ? DiskKind.Local : DiskKind.Ephemeral;
        var disks = spec.Disks
            .Select((disk, index) => new PlannedDisk(
                disk.Name, disk.Kind == DiskKind.Unspecified ? usual : disk.Kind, RoundUp(disk.SizeBytes), $"disks[{index}]"))
            .ToList();
        if (!disks.Exists(disk => disk.Name == Root))
        {
            disks.Insert(0, new PlannedDisk(Root, usual, 0, "disks"));
        }

        foreach (var disk in disks)
        {
            Check(disk, image);
        }

        return [.. disks.OrderBy(disk => disk.Name != Root)];
    }

    /// <summary>Of the size that is asked for, or the image's.</summary>
    public static long SizeOf(PlannedDisk disk, GuestImage image) => disk.SizeBytes > 0 ? disk.SizeBytes : RoundUp(image.VirtualSizeBytes);

    private static void Check(PlannedDisk disk, GuestImage image)
    {
        // It becomes a file's name here and a serial number in the guest.
        if (!IsName(disk.Name))
        {
            throw Invalid($"{disk.Field}.name is \"{disk.Name}\"; use 1 to 20 characters of a-z, 0-9 and \"-\", beginning and ending with one of a-z and 0-9");
        }

        if (disk.Kind is not (DiskKind.Ephemeral or DiskKind.Local))
        {
            throw Invalid($"{disk.Field}.kind is {disk.Kind.ToString().ToUpperInvariant()}; disks of VMs and microVMs are EPHEMERAL or LOCAL on this node");
        }

        if (disk.SizeBytes is < 0 or > DiskLimits.LargestDiskBytes)
        {
            throw Invalid($"{disk.Field}.size_bytes is {disk.SizeBytes}; a disk has at most {DiskLimits.LargestDiskBytes}");
        }

        if (disk.Name != Root && disk.SizeBytes == 0)
        {
            throw Invalid($"{disk.Field}.size_bytes is 0, which means the image's size; \"{disk.Name}\" is made of no image, so say how large it is to be");
        }

        if (disk.Name == Root && disk.SizeBytes > 0 && disk.SizeBytes < image.VirtualSizeBytes)
        {
            throw Invalid(
                $"{disk.Field}.size_bytes is {disk.SizeBytes}, and the image's disk has {image.VirtualSizeBytes}; ask for at least as much, or for 0 to get the image's size");
        }
    }

    private static bool IsName(string name) =>
        name.Length is > 0 and <= 20
        && name.All(character => character is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-')
        && name[0] != '-' && name[^1] != '-';

    private static long RoundUp(long bytes) =>
        bytes is <= 0 or > DiskLimits.LargestDiskBytes ? bytes : (bytes + DiskLimits.BlockBytes - 1) / DiskLimits.BlockBytes * DiskLimits.BlockBytes;

    private static DriverException Invalid(string message) => new("DiskInvalid", message, permanent: true);
}
