using System.Runtime.InteropServices;
using Containerd.Types;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>An image's file system, mounted read-only for a look at its files.</summary>
/// <remarks>Nothing in it is trusted: every path is resolved inside it by the kernel, and only regular files are read.</remarks>
internal sealed class ScratchMount : IDisposable
{
    private readonly string _directory;
    private readonly int _descriptor;

    private ScratchMount(string directory, int descriptor)
    {
        _directory = directory;
        _descriptor = descriptor;
    }

    /// <exception cref="IOException">The kernel refused.</exception>
    public static ScratchMount Open(IReadOnlyList<Mount> mounts, string directory)
    {
        Directory.CreateDirectory(directory);
        var mounted = 0;
        try
        {
            foreach (var mount in mounts)
            {
                MountReadOnly(mount, directory);
                mounted++;
            }

            var descriptor = NativeMethods.Open(directory, NativeMethods.ORdOnly | NativeMethods.ODirectory | NativeMethods.OCloExec);
            return descriptor >= 0 ? new ScratchMount(directory, descriptor) : throw Failure($"open {directory}");
        }
        catch
        {
            for (; mounted > 0; mounted--)
            {
                Unmount(directory);
            }

            NativeMethods.Rmdir(directory);
            throw;
        }
    }

    /// <summary>Removes what a killed agent left under <paramref name="parent"/>.</summary>
    public static void Sweep(string parent)
    {
        if (!Directory.Exists(parent))
        {
            return;
        }

        foreach (var directory in Directory.GetDirectories(parent))
        {
            Unmount(directory);
            NativeMethods.Rmdir(directory);
        }
    }

    /// <summary>A small file of the image as text, or null when there is none, it is no regular file or too large.</summary>
    public string? ReadText(string path)
    {
        // First without opening it: an image may have a pipe or a device of that name. Nobody can exchange it in between.
        var found = NativeMethods.OpenInRoot(_descriptor, path, NativeMethods.OPath | NativeMethods.OCloExec);
        if (found < 0)
        {
            return null;
        }

        var (kind, size) = NativeMethods.Stat(found);
        NativeMethods.Close(found);
        if (kind != NativeMethods.RegularFile || size > ContainerdLimits.AccountFileBytes)
        {
            return null;
        }

        using var handle = new SafeFileHandle(
            NativeMethods.OpenInRoot(_descriptor, path, NativeMethods.ORdOnly | NativeMethods.OCloExec), ownsHandle: true);
        if (handle.IsInvalid)
        {
            return null;
        }

        var buffer = new byte[size];
        return System.Text.Encoding.UTF8.GetString(buffer, 0, RandomAccess.Read(handle, buffer, 0));
    }

    public void Dispose()
    {
        NativeMethods.Close(_descriptor);
        Unmount(_directory);
        NativeMethods.Rmdir(_directory);
    }

    private static void MountReadOnly(Mount mount, string directory)
    {
        const ulong safe = NativeMethods.MsRdOnly | NativeMethods.MsNoDev | NativeMethods.MsNoSuid | NativeMethods.MsNoExec;
        var bind = mount.Type == "bind" || mount.Options.Any(option => option is "bind" or "rbind");
        var data = string.Join(',', mount.Options.Where(option => option is not ("ro" or "rw" or "bind" or "rbind")));
        using var common = bind ? null : Shorten(ref data);
        if (NativeMethods.Mount(mount.Source, directory, bind ? "" : mount.Type, bind ? NativeMethods.MsBind : safe, bind ? "" : data) != 0)
        {
            throw Failure($"mount {mount.Type} on {directory}");
        }

        // A bind takes its restrictions only in a second step.
        if (bind && NativeMethods.Mount("", directory, "", NativeMethods.MsBind | NativeMethods.MsRemount | safe, "") != 0)
        {
            var failure = Failure($"restrict the mount on {directory}");
            Unmount(directory);
            throw failure;
        }
    }

    /// <summary>
    /// The kernel takes one page of options, which some fifty layers' paths fill: they are then named below a descriptor of the folder that
    /// all have in common.
    /// </summary>
    /// <returns>That descriptor, to be held until the mount is made.</returns>
    private static SafeFileHandle? Shorten(ref string options)
    {
        const int page = 4096;
        const string lower = "lowerdir=";
        if (options.Length < page || options.Split(',').FirstOrDefault(option => option.StartsWith(lower, StringComparison.Ordinal)) is not { } layers)
        {
            return null;
        }

        var folders = layers[lower.Length..].Split(':');
        var common = folders[0];
        while (common.Length > 0 && !folders.All(folder => folder.StartsWith(common + "/", StringComparison.Ordinal)))
        {
            common = Path.GetDirectoryName(common) is { Length: > 1 } parent ? parent : "";
        }

        if (common.Length == 0)
        {
            return null;
        }

        var descriptor = NativeMethods.Open(common, NativeMethods.OPath | NativeMethods.ODirectory | NativeMethods.OCloExec);
        if (descriptor < 0)
        {
            throw Failure($"open {common}");
        }

        options = options.Replace(common + "/", $"/proc/self/fd/{descriptor}/", StringComparison.Ordinal);
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    private static void Unmount(string directory) =>
        NativeMethods.Umount(directory, NativeMethods.MntDetach | NativeMethods.UmountNoFollow);

    private static IOException Failure(string what)
    {
        var code = Marshal.GetLastPInvokeError();
        return new IOException($"{what}: {Marshal.GetPInvokeErrorMessage(code)}", code);
    }
}
