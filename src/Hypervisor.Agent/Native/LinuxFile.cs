using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Native;

/// <summary>What <see cref="File"/> cannot do: open without following links, and sync a directory. Constants are of open(2) on x86-64 and arm64.</summary>
internal static partial class LinuxFile
{
    private const int ReadOnly = 0;
    private const int CloseOnExec = 0x80000;
    private const int NoEntry = 2;
    private const int TooManyLinks = 40;
    private const int NotPermitted = 1;
    private const int CrossDevice = 18;
    private const int TooManyNames = 31;
    private const int NotSupported = 95;

    // O_NOFOLLOW and O_DIRECTORY have other values on arm64 (asm/fcntl.h) than in the generic header that x86-64 uses.
    private static readonly int NoFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;
    private static readonly int DirectoryOnly = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

    /// <summary>Null when there is no such file.</summary>
    /// <exception cref="InvalidDataException">It is a symbolic link.</exception>
    public static SafeFileHandle? OpenRead(string path)
    {
        var handle = Open(path, ReadOnly | CloseOnExec | NoFollow);
        if (!handle.IsInvalid)
        {
            return handle;
        }

        var error = Marshal.GetLastPInvokeError();
        handle.Dispose();
        return error switch
        {
            NoEntry => null,
            TooManyLinks => throw new InvalidDataException($"{path} is a symbolic link; nothing is read through one. Replace it with the file."),
            _ => throw new IOException($"open {path}: {new Win32Exception(error).Message}"),
        };
    }

    /// <summary>Makes renames in a directory durable.</summary>
    public static void SyncDirectory(string path)
    {
        using var handle = Open(path, ReadOnly | CloseOnExec | DirectoryOnly);
        if (handle.IsInvalid || Sync(handle) != 0)
        {
            throw new IOException($"fsync {path}: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}");
        }
    }

    /// <summary>Another name for a file's content; false where the file system has no such thing.</summary>
    /// <param name="to">Nothing is there.</param>
    public static bool Link(string from, string to)
    {
        if (HardLink(from, to) == 0)
        {
            return true;
        }

        var error = Marshal.GetLastPInvokeError();
        return error is NotPermitted or TooManyNames or CrossDevice or NotSupported
            ? false
            : throw new IOException($"link {to}: {new Win32Exception(error).Message}", error);
    }

    [LibraryImport("libc", EntryPoint = "link", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int HardLink(string from, string to);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(SafeFileHandle handle);
}
