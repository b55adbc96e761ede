using System.Runtime.InteropServices;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>Lays a guest's files out where Firecracker looks for them, and takes them away again.</summary>
internal sealed partial class GuestFolders(FirecrackerOptions options)
{
    /// <summary>Only root.</summary>
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>The jailer makes its folders by this rule: base, name of the program, id, "root".</summary>
    public string RootOf(InstanceId id, string runDirectory) =>
        JailOf(id) is { } jail ? Path.Combine(jail, "root") : runDirectory;

    /// <summary>Everything is new: what an earlier attempt left was removed.</summary>
    public void Lay(FirecrackerRecord record, GuestMachine machine)
    {
        var sockets = Path.Combine(machine.RunDirectory, GuestFiles.Sockets);
        Directory.CreateDirectory(sockets, Private);
        MakePipe(machine.ConsoleInput);
        if (record.User is { } user)
        {
            Directory.CreateDirectory(record.Root, Private);
            CheckUnused(record.Root);
            using var own = GuestRoot.OpenOwn(sockets);
            Own(own, user);
        }

        using var root = GuestRoot.Open(record.Root)!;
        if (record.User is not null)
        {
            root.Show(sockets, GuestFiles.Sockets);
        }

        if (machine.RestoreFrom is { } snapshot)
        {
            Place(root, record, snapshot, GuestFiles.RestoredMemory, writable: false);
            using var file = GuestRoot.OpenOwn(snapshot);
            using var state = root.Create(GuestFiles.RestoredState, record.User ?? 0);
            RandomAccess.Write(state, SnapshotFile.ReadState(file), 0);
        }
        else
        {
            Place(root, record, machine.Boot!.Kernel, GuestFiles.Kernel, writable: false);
            Place(root, record, machine.Boot.Initramfs, GuestFiles.Initramfs, writable: false);
        }

        foreach (var disk in machine.Disks)
        {
            Place(root, record, disk.Path, GuestFiles.Disk(disk.Name), !disk.ReadOnly);
        }

        // Firecracker opens both, and makes neither.
        root.Create(GuestFiles.Log, record.User ?? 0).Dispose();
        if (options.Metrics)
        {
            root.Create(GuestFiles.Metrics, record.User ?? 0).Dispose();
        }

        if (record.User is { } owner)
        {
            root.Own(owner);
        }
    }

    /// <summary>Nothing when there is nothing.</summary>
    public static void Remove(FirecrackerRecord record)
    {
        if (record.User is not null)
        {
            using (var root = GuestRoot.Open(record.Root))
            {
                root?.Empty();
            }

            // The jail is the folder above its root, which is root's alone.
            var jail = Path.GetDirectoryName(record.Root)!;
            if (Directory.Exists(jail))
            {
                Directory.Delete(jail, recursive: true);
            }
        }

        using var run = GuestRoot.Open(record.RunDirectory);
        if (run is null)
        {
            return;
        }

        // The folder is shared with those who made it: only what is ours goes.
        foreach (var path in Directory.EnumerateFileSystemEntries(record.RunDirectory))
        {
            if (Path.GetFileName(path) is { } name && IsOurs(name) && name != GuestFiles.Sockets)
            {
                run.Delete(name);
            }
        }

        var sockets = Path.Combine(record.RunDirectory, GuestFiles.Sockets);
        using (var folder = GuestRoot.Open(sockets))
        {
            folder?.Empty();
        }

        if (Directory.Exists(sockets))
        {
            Directory.Delete(sockets);
        }
    }

    private static bool IsOurs(string name) =>
        name is GuestFiles.Sockets or GuestFiles.Kernel or GuestFiles.Initramfs or GuestFiles.Log or GuestFiles.Metrics or GuestFiles.Errors
            or GuestFiles.RestoredMemory or GuestFiles.RestoredState or GuestFiles.SavedMemory or GuestFiles.SavedState or "channel" or "console.in"
        || name.StartsWith(GuestFiles.Disk(""), StringComparison.Ordinal);

    private static void Place(GuestRoot root, FirecrackerRecord record, string source, string name, bool writable)
    {
        if (record.User is { } user)
        {
            root.Bring(source, name, writable ? user : null);
        }
        else
        {
            File.CreateSymbolicLink(Path.Combine(record.Root, name), source);
        }
    }

    /// <summary>A jail that is there already was made by nobody we know: the jailer would use what is in it.</summary>
    private static void CheckUnused(string root)
    {
        if (Directory.EnumerateFileSystemEntries(root).Any())
        {
            throw new DriverException(
                FirecrackerCommand.GuestInvalid, $"{root} is not empty, and belongs to no guest; delete it", permanent: false);
        }
    }

    private static void Own(SafeHandle folder, uint user) =>
        Copying.FileCalls.Check(Copying.FileCalls.ChangeOwner((int)folder.DangerousGetHandle(), user, user), "chown");

    private static void MakePipe(string path)
    {
        File.Delete(path);
        if (MakeFifo(path, 0x180 /* 0600 */) != 0)
        {
            throw new IOException($"mkfifo {path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    private string? JailOf(InstanceId id) => options.Jailer is { } jailer
        ? Path.Combine(jailer.ChrootBase, Path.GetFileName(options.Program), FirecrackerCommand.Checked(id))
        : null;

    [LibraryImport("libc", EntryPoint = "mkfifo", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeFifo(string path, uint mode);
}
