using System.Globalization;
using Containerd.Types;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>The device that control groups count a file system's I/O by: Documentation/block and sysfs-dev-block of the kernel.</summary>
internal static class BlockDevice
{
    /// <summary>
    /// "254:0" of the whole disk that a root file system's files lie on. Null where the kernel knows none: in memory, on the network, and on file
    /// systems that manage devices themselves (btrfs, ZFS), whose numbers name no device.
    /// </summary>
    /// <param name="rootfs">As containerd's snapshotter mounts it.</param>
    public static string? Of(IReadOnlyList<Mount> rootfs) =>
        rootfs is [var mount] && FolderOf(mount) is { } folder && NativeMethods.DeviceOf(folder) is (not 0, _) device
            ? WholeDisk(string.Create(CultureInfo.InvariantCulture, $"/sys/dev/block/{device.Major}:{device.Minor}"))
            : null;

    /// <summary>Where what is written goes; what is read lies beside it, for a snapshotter has one folder for all.</summary>
    public static string? FolderOf(Mount mount) => mount.Type == "bind"
        ? mount.Source
        : mount.Options.FirstOrDefault(option => option.StartsWith("upperdir=", StringComparison.Ordinal))?["upperdir=".Length..];

    /// <summary>A partition has no limits of its own.</summary>
    /// <param name="device">Its link below /sys/dev/block.</param>
    public static string? WholeDisk(string device)
    {
        if (new DirectoryInfo(device) is not { Exists: true } link)
        {
            return null;
        }

        var folder = link.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? device;
        return File.ReadAllText(Path.Combine(File.Exists(Path.Combine(folder, "partition")) ? Path.GetDirectoryName(folder)! : folder, "dev")).Trim();
    }
}
