using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Server.Images.Blobs;

/// <summary>What .NET's file classes cannot ask of Linux. Flags from asm-generic/fcntl.h (x86-64).</summary>
internal static class PosixFiles
{
    private const int ReadOnly = 0;
    private const int Directory = 0x10000;
    private const int NoFollow = 0x20000;
    private const int CloseOnExec = 0x80000;
    private const int NoEntry = 2;

    /// <summary>Opens an existing file for reading unless its last component is a link; null when there is none.</summary>
    /// <exception cref="IOException"/>
    public static SafeFileHandle? OpenRead(string path)
    {
        var descriptor = Open(path, ReadOnly | NoFollow | CloseOnExec, 0);
        if (descriptor >= 0)
        {
            return new SafeFileHandle(descriptor, ownsHandle: true);
        }

        var error = Marshal.GetLastPInvokeError();
        return error == NoEntry ? null : throw Failure(path, error);
    }

    /// <summary>Makes renames within the directory durable.</summary>
    /// <exception cref="IOException"/>
    public static void SyncDirectory(string path)
    {
        var descriptor = Open(path, ReadOnly | Directory | CloseOnExec, 0);
        if (descriptor < 0)
        {
            throw Failure(path, Marshal.GetLastPInvokeError());
        }

        using var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        if (Sync(descriptor) != 0)
        {
            throw Failure(path, Marshal.GetLastPInvokeError());
        }
    }

    private static IOException Failure(string path, int error) => new($"{new Win32Exception(error).Message}: {path}", error);

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, int mode);

    [DllImport("libc", EntryPoint = "fsync", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Sync(int descriptor);
}
