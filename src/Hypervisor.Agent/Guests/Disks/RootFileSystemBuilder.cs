using System.Globalization;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Drivers;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>An ext4 file system with an image's files, made without mounting it: mke2fs writes it as a file.</summary>
/// <remarks>
/// mke2fs(8) -d walks the tree with lstat(2), follows no link of it, opens regular files only, and copies devices, pipes, owners,
/// modes, hard links, extended attributes and times (of whole seconds, before 2038). Its 1.47.0 leaves the root directory's own
/// owner and mode as they are in an empty file system, and makes lost+found: debugfs(8) puts both right, with commands that are ours.
/// </remarks>
internal sealed class RootFileSystemBuilder(DiskTool tool, TimeProvider time)
{
    public const string Failed = "RootFileSystemFailed";

    private const string Package = "e2fsprogs";

    // Named in full, so that no configuration of the node's changes what guests get. Without checksums of metadata: mke2fs would verify
    // a directory's blocks anew for each entry that it adds. uninit_bg says which groups were never used.
    private const string Features =
        "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,uninit_bg";

    /// <param name="path">Does not exist; nothing is left there when this throws.</param>
    /// <param name="uuid">Of the file system.</param>
    /// <returns>Its size.</returns>
    /// <exception cref="DriverException">DiskFull, RootFileSystemFailed, ToolMissing, ToolTimedOut.</exception>
    public async Task<long> BuildAsync(IImageTree tree, string path, string uuid, CancellationToken cancellationToken)
    {
        var size = SizeOf(tree.Bytes, tree.Inodes);
        try
        {
            RequireRoom(path, tree.Bytes);
            DiskFiles.Create(path, size);
            await MakeAsync(tree, path, uuid, size, cancellationToken);
            await CorrectRootAsync(tree, path, cancellationToken);
            File.SetUnixFileMode(path, DiskFiles.ReadOnly);
            DiskFiles.Sync(path);
            return size;
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            File.Delete(path);
            throw DriverException.OfFullDisk(error);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    /// <summary>Content, what describes it, and room to work in; whole MiB.</summary>
    internal static long SizeOf(long bytes, long inodes)
    {
        var tables = InodesOf(bytes, inodes) * 256;
        var wanted = bytes + (bytes / 32) + tables + ((long)DiskLimits.JournalMiB << 20) + DiskLimits.FreeBytes;
        return (wanted + (1 << 20) - 1) >> 20 << 20;
    }

    /// <summary>One for each 16 KiB, as ext4 has it, and never fewer than the image needs.</summary>
    private static long InodesOf(long bytes, long inodes) => Math.Max(inodes + DiskLimits.FreeInodes, (bytes + DiskLimits.FreeBytes) / 16_384);

    private static string[] Arguments(IImageTree tree, string path, string uuid, long size) =>
    [
        "-q", "-F", "-t", "ext4", "-O", Features, "-b", "4096", "-I", "256", "-m", "0",
        "-N", InodesOf(tree.Bytes, tree.Inodes).ToString(CultureInfo.InvariantCulture),
        "-J", string.Create(CultureInfo.InvariantCulture, $"size={DiskLimits.JournalMiB}"),
        "-U", uuid,
        // The file is new, so it reads as zeros: neither mke2fs nor a guest's kernel has to write them.
        "-E", $"nodiscard,assume_storage_prezeroed=1,root_owner=0:0,hash_seed={uuid}",
        "-d", tree.Path,
        path,
        (size / 4096).ToString(CultureInfo.InvariantCulture),
    ];

    /// <summary>The disk writes while mke2fs reads: what is left to be synced at the end is little.</summary>
    private async Task MakeAsync(IImageTree tree, string path, string uuid, long size, CancellationToken cancellationToken)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var writing = WriteAheadAsync(file, ended.Token);
        try
        {
            await RunAsync("mke2fs", Arguments(tree, path, uuid, size), cancellationToken);
        }
        finally
        {
            await ended.CancelAsync();
            await writing;
        }
    }

    private async Task WriteAheadAsync(SafeFileHandle file, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(DiskLimits.WriteAhead, time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken))
            {
                DiskFiles.BeginWriting(file);
            }
        }
        catch (OperationCanceledException)
        {
            // Made.
        }
    }

    private async Task RunAsync(string program, string[] arguments, CancellationToken cancellationToken)
    {
        var result = await tool.RunAsync(
            new ToolCall(program, Package, arguments)
            {
                MemoryBytes = DiskLimits.MakeMemoryBytes,
                Cpu = DiskLimits.MakeCpu,
                Deadline = DiskLimits.Make,
                // No configuration file; see mke2fs.conf(5).
                Environment = new Dictionary<string, string> { ["MKE2FS_CONFIG"] = "/dev/null" },
            },
            cancellationToken);
        if (result.IsFullDisk)
        {
            throw DriverException.OfFullDisk(new IOException(result.Complaint));
        }

        // debugfs says what failed, below its own name, and ends with 0.
        if (result.ExitCode != 0 || (program == "debugfs" && result.Error.Trim().Contains('\n', StringComparison.Ordinal)))
        {
            throw new DriverException(Failed, $"the image's root file system could not be made: {program}: {result.Complaint}", permanent: false);
        }
    }

    private async Task CorrectRootAsync(IImageTree tree, string path, CancellationToken cancellationToken)
    {
        const uint folder = 0x4000;
        const uint usual = folder | 0x1ED;
        var root = StatusOf(tree.Path);
        List<string> requests = ["rmdir lost+found"];
        foreach (var (field, value, already) in (ReadOnlySpan<(string, uint, uint)>)
            [("mode", folder | (uint)root.Mode, usual), ("uid", root.UserId, 0), ("gid", root.GroupId, 0)])
        {
            if (value != already)
            {
                requests.Add(string.Create(CultureInfo.InvariantCulture, $"set_inode_field <2> {field} {value}"));
            }
        }

        foreach (var request in requests)
        {
            await RunAsync("debugfs", ["-w", "-R", request, path], cancellationToken);
        }
    }

    private static FileStatus StatusOf(string folder)
    {
        const int currentFolder = -100;
        var descriptor = FileCalls.Open(currentFolder, folder, FileCalls.OPath | FileCalls.ODirectory, resolve: 0);
        using var opened = new SafeFileHandle(FileCalls.Check(descriptor, $"open {folder}"), ownsHandle: true);
        return FileCalls.Status(descriptor);
    }

    /// <summary>Before the first byte: a disk that fills up stops every guest on it.</summary>
    private static void RequireRoom(string path, long bytes)
    {
        if (new DriveInfo(Path.GetDirectoryName(path)!).AvailableFreeSpace is var free && free < bytes)
        {
            throw new IOException($"{bytes} bytes are to be written, {free} are free", 28);
        }
    }
}
