using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Copying;

/// <summary>What statx(2) tells of a file.</summary>
/// <param name="Kind">S_IFMT bits.</param>
/// <param name="Mode">07777 bits.</param>
internal readonly record struct FileStatus(int Kind, int Mode, uint UserId, uint GroupId, long Size, DateTimeOffset Modified, ulong Inode);

/// <summary>System calls on files relative to an open folder; nothing here follows a path of its own.</summary>
internal static unsafe partial class FileCalls
{
    public const int RegularFile = 0x8000;
    public const int Folder = 0x4000;
    public const int Link = 0xA000;

    public const int NoEntry = 2;
    public const int Exists = 17;
    public const int CrossLink = 18;
    public const int NotFolder = 20;
    public const int IsFolder = 21;
    public const int Again = 11;
    public const int Loop = 40;
    public const int NotSupported = 95;

    public const ulong OReadOnly = 0;
    public const ulong OWriteOnly = 1;
    public const ulong OCreate = 0x40;
    public const ulong OExclusive = 0x80;
    public const ulong ONonBlock = 0x800;
    public const ulong OCloseOnExec = 0x80000;
    public const ulong OPath = 0x200000;

    /// <summary>openat2(2): links and ".." are resolved as if the folder were the root of everything, and links of /proc that jump are refused.</summary>
    public const ulong InRoot = 0x10 | 0x02;

    /// <summary>openat2(2): not above the folder, and through no link at all.</summary>
    public const ulong Beneath = 0x08 | 0x04;

    private const nint SysOpenAt2 = 437;
    private const int AtEmptyPath = 0x1000;
    private const int AtNoFollow = 0x100;
    private const int AtFollow = 0x400;
    private const int WorkingFolder = -100;
    private const uint StatxBasic = 0x7FF;

    // asm/fcntl.h: arm64 has other values than the generic header that x86-64 uses.
    public static ulong ODirectory { get; } = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000ul : 0x10000ul;

    /// <summary>A file without a name, in the folder that is opened.</summary>
    public static ulong OTemporary => 0x400000 | ODirectory;

    public static ulong ONoFollow { get; } = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000ul : 0x20000ul;

    /// <returns>Below 0: errno is in <see cref="Marshal.GetLastPInvokeError"/>.</returns>
    public static int Open(int folder, string path, ulong flags, ulong resolve, ulong mode = 0)
    {
        var how = stackalloc ulong[3] { flags | OCloseOnExec, mode, resolve };
        int result;
        var attempts = 0;
        do
        {
            // EAGAIN: something was renamed meanwhile, and the kernel could not be sure.
            result = (int)SystemCall(SysOpenAt2, folder, path, how, 3 * sizeof(ulong));
        }
        while (result < 0 && Marshal.GetLastPInvokeError() == Again && ++attempts < 32);

        return result;
    }

    /// <exception cref="IOException">The kernel refuses.</exception>
    public static FileStatus Status(int descriptor)
    {
        // struct statx, the same on every architecture.
        var buffer = stackalloc byte[256];
        Check(Statx(descriptor, "", AtEmptyPath, StatxBasic, buffer), "statx");
        var mode = *(ushort*)(buffer + 28);
        return new FileStatus(
            mode & 0xF000,
            mode & 0xFFF,
            *(uint*)(buffer + 20),
            *(uint*)(buffer + 24),
            *(long*)(buffer + 40),
            DateTimeOffset.UnixEpoch.AddSeconds(Math.Clamp(*(long*)(buffer + 112), -62_135_596_800, 253_402_300_799)).AddTicks(*(uint*)(buffer + 120) / 100),
            *(ulong*)(buffer + 32));
    }

    public static string ReadLink(int descriptor)
    {
        var buffer = stackalloc byte[4096];
        var length = ReadLinkAt(descriptor, "", buffer, 4096);
        Check((int)length, "readlink");
        return System.Text.Encoding.UTF8.GetString(buffer, (int)length);
    }

    public static void SetTimes(int descriptor, DateTimeOffset modified)
    {
        const long omit = (1L << 30) - 2;
        var seconds = Math.DivRem((modified - DateTimeOffset.UnixEpoch).Ticks, TimeSpan.TicksPerSecond, out var rest);
        var times = stackalloc long[4] { 0, omit, rest < 0 ? seconds - 1 : seconds, (rest < 0 ? rest + TimeSpan.TicksPerSecond : rest) * 100 };
        Check(FileTimes(descriptor, times), "futimens");
    }

    /// <summary>Magic number of the file system that an open file is on; statfs(2).</summary>
    public static long FileSystemOf(int descriptor)
    {
        var result = stackalloc long[32];
        Check(FileSystem(descriptor, result), "fstatfs");
        return result[0];
    }

    /// <exception cref="IOException">The call failed; the number is its HResult.</exception>
    public static int Check(int result, string what) => result >= 0 ? result : throw Failure(what);

    public static IOException Failure(string what)
    {
        var number = Marshal.GetLastPInvokeError();
        return new IOException($"{what}: {Marshal.GetPInvokeErrorMessage(number)}", number);
    }

    public static int OwnLink(int folder, string name, uint user, uint group) => ChangeOwnerAt(folder, name, user, group, AtNoFollow);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeFolder(int folder, string name, uint mode);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeLink(string target, int folder, string name);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Unlink(int folder, string name, int flags);

    /// <summary>For a file of <see cref="OTemporary"/>; by way of /proc, which asks for no capability.</summary>
    public static int GiveName(int descriptor, int folder, string name) => LinkAt(WorkingFolder, $"/proc/self/fd/{descriptor}", folder, name, AtFollow);

    public static int Rename(int folder, string from, string to) => RenameAt(folder, from, folder, to);

    [LibraryImport("libc", EntryPoint = "fchown", SetLastError = true)]
    public static partial int ChangeOwner(int descriptor, uint user, uint group);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    public static partial int ChangeMode(int descriptor, uint mode);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint SystemCall(nint number, int folder, string path, ulong* how, nuint size);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* buffer);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint ReadLinkAt(int folder, string path, byte* buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt(int fromFolder, string from, int toFolder, string to);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int LinkAt(int fromFolder, string from, int toFolder, string to, int flags);

    [LibraryImport("libc", EntryPoint = "fchownat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwnerAt(int folder, string name, uint user, uint group, int flags);

    [LibraryImport("libc", EntryPoint = "futimens", SetLastError = true)]
    private static partial int FileTimes(int descriptor, long* times);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int FileSystem(int descriptor, long* result);
}
