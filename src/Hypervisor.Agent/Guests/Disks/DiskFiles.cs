using System.Runtime.InteropServices;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Native;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Guests.Disks;

/// <summary>Files of disks: large, mostly holes, and shared where the file system can.</summary>
internal static partial class DiskFiles
{
    /// <summary>Folders that a VMM which runs as another user gets through.</summary>
    public const UnixFileMode Traversable =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    public const UnixFileMode ReadOnly = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    public const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private const nuint CloneRequest = 0x40049409;
    private const int SeekData = 3;
    private const int SeekHole = 4;
    private const int NoSuchData = 6;
    private const int WorkingFolder = -100;
    private const int AtNoFollow = 0x100;
    private const uint StatxBlocks = 0x400;

    /// <summary>Bytes that a file takes on the disk; 0 for one that is not there. Opens nothing and follows no link.</summary>
    public static unsafe long Allocated(string path)
    {
        // struct statx, the same on every architecture; stx_blocks counts 512 bytes each.
        var buffer = stackalloc byte[256];
        return Statx(WorkingFolder, path, AtNoFollow, StatxBlocks, buffer) == 0 ? *(long*)(buffer + 48) * 512 : 0;
    }

    /// <summary>An empty raw disk.</summary>
    public static void Create(string path, long size)
    {
        using var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        File.SetUnixFileMode(file, OwnerOnly);
        RandomAccess.SetLength(file, size);
    }

    /// <summary>Of a raw disk; never makes one smaller.</summary>
    public static void Grow(string path, long size)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        if (RandomAccess.GetLength(file) < size)
        {
            RandomAccess.SetLength(file, size);
        }
    }

    /// <summary>Has the kernel begin to write what waits in its cache, without waiting for it.</summary>
    public static void BeginWriting(SafeFileHandle file)
    {
        // A hint: a file system that cannot writes when it is synced.
        const uint write = 2;
        _ = SyncFileRange(file, 0, 0, write);
    }

    /// <summary>Content and entry survive a power cut.</summary>
    public static void Sync(string path)
    {
        using (var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read))
        {
            RandomAccess.FlushToDisk(file);
        }

        LinuxFile.SyncDirectory(Path.GetDirectoryName(path)!);
    }

    /// <summary>
    /// A copy whose holes stay holes: sharing its blocks with the original where the file system can, else copied by the kernel, else
    /// read and written. Not yet synced; removed when it does not come about.
    /// </summary>
    /// <exception cref="DriverException">DiskFull.</exception>
    public static async Task CopyAsync(string from, string to, CancellationToken cancellationToken)
    {
        try
        {
            // Blocking calls, of up to some hundred milliseconds each.
            await Task.Run(() => Copy(from, to, cancellationToken), cancellationToken);
        }
        catch (IOException error) when (DriverException.IsFullDisk(error))
        {
            File.Delete(to);
            throw DriverException.OfFullDisk(error);
        }
        catch
        {
            File.Delete(to);
            throw;
        }
    }

    private static void Copy(string from, string to, CancellationToken cancellationToken)
    {
        using var source = File.OpenHandle(from);
        using var target = File.OpenHandle(to, FileMode.CreateNew, FileAccess.ReadWrite);
        File.SetUnixFileMode(target, OwnerOnly);
        if (Control(target, CloneRequest, source) == 0)
        {
            return;
        }

        // Whatever the reason is: a copy says it better.
        var length = RandomAccess.GetLength(source);
        RandomAccess.SetLength(target, length);
        for (var position = 0L; position < length;)
        {
            var data = Seek(source, position, SeekData);
            if (data < 0)
            {
                if (Marshal.GetLastPInvokeError() == NoSuchData)
                {
                    return;
                }

                throw Failure($"lseek {from}");
            }

            position = Seek(source, data, SeekHole);
            CopyRange(source, target, data, position < 0 ? length : position, cancellationToken);
            position = position < 0 ? length : position;
        }
    }

    private static unsafe void CopyRange(SafeFileHandle source, SafeFileHandle target, long begin, long end, CancellationToken cancellationToken)
    {
        byte[]? buffer = null;
        while (begin < end)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long fromOffset = begin, toOffset = begin;
            var copied = buffer is null ? CopyFileRange(source, &fromOffset, target, &toOffset, (nuint)Math.Min(end - begin, DiskLimits.CopyStepBytes), 0) : -1;
            if (copied <= 0)
            {
                if (buffer is null && DriverException.IsFullDisk(new IOException("", Marshal.GetLastPInvokeError())))
                {
                    throw Failure("copy_file_range");
                }

                // Between file systems, or one that cannot.
                buffer ??= new byte[1 << 20];
                copied = RandomAccess.Read(source, buffer.AsSpan(0, (int)Math.Min(buffer.Length, end - begin)), begin);
                if (copied == 0)
                {
                    return;
                }

                RandomAccess.Write(target, buffer.AsSpan(0, (int)copied), begin);
            }

            begin += copied;
        }
    }

    private static IOException Failure(string what)
    {
        var number = Marshal.GetLastPInvokeError();
        return new IOException($"{what}: {Marshal.GetPInvokeErrorMessage(number)}", number);
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(SafeFileHandle target, nuint request, SafeFileHandle source);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "sync_file_range", SetLastError = true)]
    private static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    private static unsafe partial nint CopyFileRange(SafeFileHandle source, long* sourceOffset, SafeFileHandle target, long* targetOffset, nuint length, uint flags);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Statx(int folder, string path, int flags, uint mask, byte* buffer);
}
