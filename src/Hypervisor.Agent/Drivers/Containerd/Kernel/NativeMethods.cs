using System.Runtime.InteropServices;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>System calls that .NET has no method for.</summary>
internal static partial class NativeMethods
{
    public const int SigKill = 9;

    public const ulong MsRdOnly = 1;
    public const ulong MsNoSuid = 2;
    public const ulong MsNoDev = 4;
    public const ulong MsNoExec = 8;
    public const ulong MsBind = 4096;
    public const ulong MsPrivate = 1 << 18;
    public const int MntDetach = 2;
    public const int UmountNoFollow = 8;

    public const ulong MsRemount = 32;

    public const int FileKindMask = 0xF000;
    public const int RegularFile = 0x8000;

    public const int OPath = 0x200000;
    public const int ORdOnly = 0;
    public const int OWrOnly = 1;
    public const int ORdWr = 2;
    public const int ONonBlock = 0x800;
    public const int OCloExec = 0x80000;
    public const int ODirectory = 0x10000;

    /// <summary>openat2(2): the path cannot leave the directory, absolute links and ".." are resolved as if it were the root.</summary>
    public const ulong ResolveInRoot = 0x10;

    /// <summary>openat2(2): links in /proc that jump anywhere are not followed.</summary>
    public const ulong ResolveNoMagicLinks = 0x02;

    /// <summary>openat2's number is the same on every architecture: it came after the tables were unified.</summary>
    private const int SysOpenAt2 = 437;

    // struct statx, which is the same on every architecture.
    private const int StatxBytes = 256;
    private const int StatxMode = 28;
    private const int StatxSize = 40;
    private const int StatxDeviceMajor = 136;
    private const int StatxDeviceMinor = 140;
    private const int AtCurrentFolder = -100;
    private const uint StatxTypeAndSize = 0x201;
    private const int AtEmptyPath = 0x1000;

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "rmdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Rmdir(string path);

    [LibraryImport("libc", EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Mount(string source, string target, string type, ulong flags, string data);

    [LibraryImport("libc", EntryPoint = "umount2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Umount(string target, int flags);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    /// <summary>A pipe with a name, for root alone; one that is there already is taken as it is.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static void MakeFifo(string path)
    {
        const uint ownerOnly = 0x180;
        const int exists = 17;
        if (MkFifo(path, ownerOnly) != 0 && Marshal.GetLastPInvokeError() != exists)
        {
            throw new IOException($"mkfifo {path}: {Marshal.GetLastPInvokeErrorMessage()}", Marshal.GetLastPInvokeError());
        }
    }

    [LibraryImport("libc", EntryPoint = "mkfifo", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MkFifo(string path, uint mode);

    public static unsafe int OpenInRoot(int directory, string path, ulong flags)
    {
        var how = new OpenHow { Flags = flags, Resolve = ResolveInRoot | ResolveNoMagicLinks };
        return (int)SyscallOpenAt2(SysOpenAt2, directory, path, &how, (nuint)sizeof(OpenHow));
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial nint SyscallOpenAt2(nint number, int directory, string path, OpenHow* how, nuint size);

    /// <summary>statx(2) of an open descriptor: kind (S_IFMT bits) and size. 0 when the kernel refuses.</summary>
    public static unsafe (int Kind, long Size) Stat(int descriptor)
    {
        var buffer = stackalloc byte[StatxBytes];
        return Statx(descriptor, "", AtEmptyPath, StatxTypeAndSize, buffer) == 0
            ? (*(ushort*)(buffer + StatxMode) & FileKindMask, *(long*)(buffer + StatxSize))
            : default;
    }

    /// <summary>statx(2) of a path: the device that it lies on. Zeros when the kernel refuses.</summary>
    public static unsafe (uint Major, uint Minor) DeviceOf(string path)
    {
        var buffer = stackalloc byte[StatxBytes];
        return Statx(AtCurrentFolder, path, 0, 0, buffer) == 0
            ? (*(uint*)(buffer + StatxDeviceMajor), *(uint*)(buffer + StatxDeviceMinor))
            : default;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Statx(int directory, string path, int flags, uint mask, byte* buffer);

    private struct OpenHow
    {
        public ulong Flags;
        public ulong Mode;
        public ulong Resolve;
    }
}
