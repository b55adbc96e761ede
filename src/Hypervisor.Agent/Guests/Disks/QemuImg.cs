using System.Globalization;
using Hypervisor.Agent.Drivers;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>What another disk is made over.</summary>
internal sealed record BackingFile(string Path, DiskFormat Format);

/// <summary>qemu-img(1), which alone touches formats and is always told which: one that is guessed from a disk's bytes is a guest's to choose.</summary>
internal sealed class QemuImg(DiskTool tool)
{
    public const string Failed = "DiskFailed";

    /// <summary>An empty disk, or one that shows what lies behind it until it is written to.</summary>
    public Task CreateAsync(string path, DiskFormat format, long size, BackingFile? backing, CancellationToken cancellationToken) =>
        ShortAsync(
            [
                "create", "-q", "-f", Name(format),
                .. backing is null ? (string[])[] : ["-b", backing.Path, "-F", Name(backing.Format)],
                "--", path, Number(size),
            ],
            cancellationToken);

    /// <summary>Makes a disk that no machine has open larger.</summary>
    public Task GrowAsync(string path, DiskFormat format, long size, CancellationToken cancellationToken) =>
        ShortAsync(["resize", "-q", "-f", Name(format), "--", path, Number(size)], cancellationToken);

    /// <summary>
    /// Puts a qcow2 over something else, and copies into it what it would otherwise show no longer. May be broken off and repeated at
    /// any point.
    /// </summary>
    /// <param name="backing">Null: it then stands alone.</param>
    public Task RebaseAsync(string path, BackingFile? backing, CancellationToken cancellationToken) =>
        LongAsync(
            [
                "rebase", "-q", "-f", Name(DiskFormat.Qcow2),
                .. backing is null ? (string[])["-b", ""] : ["-b", backing.Path, "-F", Name(backing.Format)],
                "--", path,
            ],
            cancellationToken);

    /// <summary>A copy of what a disk shows.</summary>
    /// <param name="backing">What the source lies directly over, for a copy that does so too; null for one that stands alone.</param>
    public Task ConvertAsync(
        string from, DiskFormat fromFormat, string to, DiskFormat toFormat, BackingFile? backing, CancellationToken cancellationToken) =>
        LongAsync(
            [
                "convert", "-q", "-f", Name(fromFormat), "-O", Name(toFormat),
                .. backing is null ? (string[])[] : ["-B", backing.Path, "-F", Name(backing.Format)],
                "--", from, to,
            ],
            cancellationToken);

    private Task ShortAsync(string[] arguments, CancellationToken cancellationToken) =>
        RunAsync(arguments, DiskLimits.ImageCpu, DiskLimits.ImageCall, cancellationToken);

    private Task LongAsync(string[] arguments, CancellationToken cancellationToken) =>
        RunAsync(arguments, DiskLimits.CopyCpu, DiskLimits.Copy, cancellationToken);

    private async Task RunAsync(string[] arguments, TimeSpan cpu, TimeSpan deadline, CancellationToken cancellationToken)
    {
        var call = new ToolCall("qemu-img", "qemu-utils", arguments) { MemoryBytes = DiskLimits.ImageMemoryBytes, Cpu = cpu, Deadline = deadline };
        var result = await tool.RunAsync(call, cancellationToken);
        if (result.IsFullDisk)
        {
            throw DriverException.OfFullDisk(new IOException(result.Complaint));
        }

        if (result.ExitCode != 0)
        {
            throw new DriverException(Failed, $"qemu-img {arguments[0]}: {result.Complaint}", permanent: false);
        }
    }

    private static string Name(DiskFormat format) => format switch
    {
        DiskFormat.Raw => "raw",
        DiskFormat.Qcow2 => "qcow2",
        _ => throw new ArgumentOutOfRangeException(nameof(format), format, "the format has to be known"),
    };

    private static string Number(long size) => size.ToString(CultureInfo.InvariantCulture);
}
