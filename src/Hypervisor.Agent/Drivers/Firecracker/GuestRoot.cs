using System.Net.Sockets;
using System.Runtime.InteropServices;
using Hypervisor.Agent.Copying;
using Hypervisor.Agent.Networking.Interop;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>
/// A guest's working folder, held open: a guest that broke out into its jail may put links there at any moment, so nothing in it is
/// ever reached through one (the class of CVE-2026-1386), sockets included.
/// </summary>
internal sealed class GuestRoot : IDisposable
{
    private const int RemoveFolder = 0x200;
    private const int SocketKind = 0xC000;
    private const ulong ReadWrite = 2;

    private readonly SafeFileHandle _folder;

    private GuestRoot(SafeFileHandle folder) => _folder = folder;

    private int Descriptor => (int)_folder.DangerousGetHandle();

    /// <summary>Null when there is no such folder.</summary>
    /// <param name="path">Its parent belongs to root alone.</param>
    public static GuestRoot? Open(string path)
    {
        const int workingFolder = -100;
        var descriptor = FileCalls.Open(workingFolder, path, FileCalls.OPath | FileCalls.ODirectory | FileCalls.ONoFollow, resolve: 0);
        return descriptor < 0 && Marshal.GetLastPInvokeError() == FileCalls.NoEntry
            ? null
            : new GuestRoot(new SafeFileHandle(FileCalls.Check(descriptor, $"open {path}"), ownsHandle: true));
    }

    /// <summary>
    /// Gives a file of ours a name in it: the file itself, where both are on one file system, else mounted over an empty one.
    /// </summary>
    /// <param name="owner">Who may write it; null leaves the file's owner and lets anybody in the jail read it.</param>
    public void Bring(string source, string name, uint? owner)
    {
        using var file = OpenOwn(source);
        var status = FileCalls.Status((int)file.DangerousGetHandle());
        if (owner is { } user)
        {
            FileCalls.Check(FileCalls.ChangeOwner((int)file.DangerousGetHandle(), user, user), $"chown {source}");
        }
        else if ((status.Mode & 0x4) == 0)
        {
            // 04: the folders above are root's alone, so that "everybody" is the jail.
            FileCalls.Check(FileCalls.ChangeMode((int)file.DangerousGetHandle(), (uint)status.Mode | 0x4), $"chmod {source}");
        }

        if (FileCalls.GiveName((int)file.DangerousGetHandle(), Descriptor, name) >= 0)
        {
            return;
        }

        if (Marshal.GetLastPInvokeError() != FileCalls.CrossLink)
        {
            throw FileCalls.Failure($"link {source}");
        }

        using var place = Create(name, 0);
        Mount(RootDirectory.PathOf(file), RootDirectory.PathOf(place));
    }

    /// <summary>A folder of ours, seen at <paramref name="name"/> too.</summary>
    public void Show(string source, string name)
    {
        FileCalls.Check(FileCalls.MakeFolder(Descriptor, name, 0x1C0 /* 0700 */), $"mkdir {name}");
        using var place = OpenInside(name, FileCalls.OPath | FileCalls.ODirectory) ?? throw FileCalls.Failure($"open {name}");
        Mount(source, RootDirectory.PathOf(place));
    }

    /// <summary>A new file.</summary>
    /// <param name="owner">0 is root, as the file is made.</param>
    public SafeFileHandle Create(string name, uint owner)
    {
        var descriptor = FileCalls.Open(
            Descriptor, name, ReadWrite | FileCalls.OCreate | FileCalls.OExclusive | FileCalls.ONoFollow, FileCalls.Beneath, 0x180 /* 0600 */);
        var file = new SafeFileHandle(FileCalls.Check(descriptor, $"create {name}"), ownsHandle: true);
        if (owner != 0)
        {
            FileCalls.Check(FileCalls.ChangeOwner((int)file.DangerousGetHandle(), owner, owner), $"chown {name}");
        }

        return file;
    }

    /// <summary>Makes the folder's own owner; before anything runs in it.</summary>
    public void Own(uint user)
    {
        using var folder = OpenInside(".", FileCalls.OReadOnly | FileCalls.ODirectory) ?? throw FileCalls.Failure("open");
        FileCalls.Check(FileCalls.ChangeOwner((int)folder.DangerousGetHandle(), user, user), "chown");
    }

    /// <summary>A regular file in it, opened for reading and writing; null when there is none.</summary>
    /// <exception cref="IOException">Something else is there, a link above all.</exception>
    public SafeFileHandle? OpenFile(string name)
    {
        var file = OpenInside(name, ReadWrite | FileCalls.ONonBlock | FileCalls.ONoFollow);
        if (file is not null && FileCalls.Status((int)file.DangerousGetHandle()).Kind != FileCalls.RegularFile)
        {
            file.Dispose();
            throw new IOException($"{name} in the guest's folder is no regular file; somebody exchanged it");
        }

        return file;
    }

    /// <summary>Whether a socket is there.</summary>
    public bool HasSocket(string name)
    {
        using var found = FindSocket(name);
        return found is not null;
    }

    /// <summary>A connection to a socket in it, which is the very one that was looked at.</summary>
    /// <exception cref="IOException">There is none.</exception>
    public async Task<Stream> ConnectAsync(string name, CancellationToken cancellationToken)
    {
        using var found = FindSocket(name) ?? throw new IOException($"there is no socket {name}");
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(RootDirectory.PathOf(found)), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Gives a socket of it another name, in a folder of ours on the same file system.</summary>
    public void LinkSocket(string name, string destination)
    {
        using var found = FindSocket(name) ?? throw new IOException($"there is no socket {name}");
        File.Delete(destination);
        using var folder = OpenOwnFolder(Path.GetDirectoryName(destination)!);
        FileCalls.Check(
            FileCalls.GiveName((int)found.DangerousGetHandle(), (int)folder.DangerousGetHandle(), Path.GetFileName(destination)), $"link {destination}");
    }

    public void Delete(string name)
    {
        if (FileCalls.Unlink(Descriptor, name, 0) < 0 && Marshal.GetLastPInvokeError() != FileCalls.NoEntry)
        {
            throw FileCalls.Failure($"unlink {name}");
        }
    }

    /// <summary>Takes away what was mounted in it, then all that is left.</summary>
    public void Empty()
    {
        Unmount(Descriptor, 0);
        Empty(Descriptor, 0);
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>A file of ours: not through a link as its last part.</summary>
    internal static SafeFileHandle OpenOwn(string path)
    {
        const int workingFolder = -100;
        var descriptor = FileCalls.Open(workingFolder, path, FileCalls.OReadOnly | FileCalls.ONoFollow, resolve: 0);
        return new SafeFileHandle(FileCalls.Check(descriptor, $"open {path}"), ownsHandle: true);
    }

    internal static SafeFileHandle OpenOwnFolder(string path)
    {
        const int workingFolder = -100;
        var descriptor = FileCalls.Open(workingFolder, path, FileCalls.OPath | FileCalls.ODirectory, resolve: 0);
        return new SafeFileHandle(FileCalls.Check(descriptor, $"open {path}"), ownsHandle: true);
    }

    private static void Mount(string source, string target) =>
        FileCalls.Check(Libc.Mount(source, target, null, Libc.MountBind, 0), $"mount {source}");

    private static void Unmount(int folder, int depth)
    {
        foreach (var name in depth > 1 ? [] : Names(folder))
        {
            // Only what is a mount point answers; the name is looked up in the open folder, and no link is followed.
            while (Libc.Unmount($"/proc/self/fd/{folder}/{name}", Libc.UnmountDetach | Libc.UnmountNoFollow) == 0)
            {
            }
        }
    }

    private static void Empty(int folder, int depth)
    {
        if (depth > FirecrackerLimits.JailDepth)
        {
            throw new IOException($"folders in the guest's folder are more than {FirecrackerLimits.JailDepth} deep; delete them by hand");
        }

        foreach (var name in Names(folder))
        {
            if (FileCalls.Unlink(folder, name, 0) >= 0)
            {
                continue;
            }

            if (Marshal.GetLastPInvokeError() == FileCalls.NoEntry)
            {
                continue;
            }

            using (var inner = OpenAt(folder, name, FileCalls.OPath | FileCalls.ODirectory | FileCalls.ONoFollow))
            {
                if (inner is not null)
                {
                    Empty((int)inner.DangerousGetHandle(), depth + 1);
                }
            }

            FileCalls.Check(FileCalls.Unlink(folder, name, RemoveFolder), $"rmdir {name}");
        }
    }

    private static string[] Names(int folder) => [.. Directory.EnumerateFileSystemEntries($"/proc/self/fd/{folder}").Select(path => Path.GetFileName(path))];

    private static SafeFileHandle? OpenAt(int folder, string name, ulong flags)
    {
        var descriptor = FileCalls.Open(folder, name, flags, FileCalls.Beneath);
        return descriptor >= 0
            ? new SafeFileHandle(descriptor, ownsHandle: true)
            : Marshal.GetLastPInvokeError() == FileCalls.NoEntry ? null : throw FileCalls.Failure($"open {name} in the guest's folder");
    }

    private SafeFileHandle? OpenInside(string name, ulong flags) => OpenAt(Descriptor, name, flags);

    private SafeFileHandle? FindSocket(string name)
    {
        var found = OpenInside(name, FileCalls.OPath | FileCalls.ONoFollow);
        if (found is not null && FileCalls.Status((int)found.DangerousGetHandle()).Kind != SocketKind)
        {
            found.Dispose();
            throw new IOException($"{name} in the guest's folder is no socket; somebody exchanged it");
        }

        return found;
    }
}
