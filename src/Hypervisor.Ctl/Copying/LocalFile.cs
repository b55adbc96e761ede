using System.Runtime.InteropServices;

namespace Hypervisor.Ctl.Copying;

/// <summary>What .NET does not do to files: owners, and renaming links.</summary>
internal static partial class LocalFile
{
    private const int CurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const uint Owners = 0x18;

    public static bool IsRoot => EffectiveUser() == 0;

    /// <summary>Of the entry itself, should it be a link. Root's when the kernel does not say.</summary>
    public static unsafe (uint User, uint Group) OwnerOf(string path)
    {
        // struct statx, the same on every architecture.
        var buffer = stackalloc byte[256];
        return Statx(CurrentFolder, path, NoFollow, Owners, buffer) == 0 ? (*(uint*)(buffer + 20), *(uint*)(buffer + 24)) : default;
    }

    public static void SetOwner(string path, uint user, uint group)
    {
        if (ChangeOwner(path, user, group) != 0)
        {
            throw new IOException($"chown {path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Into place, also of a link that leads nowhere or to a folder, which <see cref="File.Move(string, string)"/> takes for that.</summary>
    public static void Rename(string from, string to)
    {
        if (Move(from, to) != 0)
        {
            throw new IOException($"rename {from} to {to}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "rename", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Move(string from, string to);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Statx(int folder, string path, int flags, uint mask, byte* buffer);

    [LibraryImport("libc", EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, uint user, uint group);
}
