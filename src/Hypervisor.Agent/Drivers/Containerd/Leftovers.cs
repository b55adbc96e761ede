using System.Runtime.InteropServices;
using Hypervisor.Agent.Drivers.Containerd.Kernel;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>
/// What a shim or containerd that was killed in the middle of a call leaves of a container and nobody else will remove:
/// processes, mounts and directories. Only called when containerd says that there is no task.
/// </summary>
internal sealed class Leftovers(ContainerdOptions options, Cgroups cgroups)
{
    private const string Tasks = "io.containerd.runtime.v2.task";

    public bool Any(string id) => cgroups.Exists(id) || Directories(id).Any(Directory.Exists);

    /// <summary>
    /// Whether the task's process still waits to be let go, or ended waiting: `runc start` reads the pipe on which it waits, then removes it.
    /// </summary>
    /// <remarks>
    /// A `runc start` that is killed having opened the pipe, as when its containerd dies, makes the waiting process fail with exit code 1,
    /// which looks like an end of what the user wanted to run. Killed a moment later, before removing the pipe, it has let a process go of
    /// which this says that it never was: if that has ended, it is run a second time rather than not at all.
    /// </remarks>
    public bool IsHeldBack(string id) => File.Exists(Path.Combine(RuncRecord(id), "exec.fifo"));

    /// <exception cref="DriverException">ProcessUnkillable.</exception>
    public async Task EraseAsync(string id, CancellationToken cancellationToken)
    {
        await cgroups.EraseAsync(id, cancellationToken);
        foreach (var directory in Directories(id).Where(Directory.Exists))
        {
            Unmount(directory);
            if (WorkOf(id, directory) is { } work)
            {
                DeleteTree(work);
            }

            DeleteTree(directory);
        }
    }

    /// <summary>
    /// A bundle's working directory, which lies under containerd's root folder. containerd finds it by this link, and so would not
    /// remove it any more once the bundle is gone.
    /// </summary>
    private string? WorkOf(string id, string bundle) =>
        new FileInfo(Path.Combine(bundle, "work")).LinkTarget is { } target
        && target.EndsWith($"/{Tasks}/{options.Namespace}/{id}", StringComparison.Ordinal)
            ? target
            : null;

    /// <summary>
    /// The bundle, which would make the next start fail ("file exists"), the one that was being deleted, and runc's record, which
    /// would make it fail too ("container with given ID already exists").
    /// </summary>
    private IEnumerable<string> Directories(string id)
    {
        var bundles = Path.Combine(options.StateDirectory, Tasks, options.Namespace);
        yield return Path.Combine(bundles, id);
        yield return Path.Combine(bundles, "." + id);
        yield return RuncRecord(id);
    }

    private string RuncRecord(string id) => Path.Combine(options.RuncRoot, options.Namespace, id);

    private static void DeleteTree(string directory)
    {
        try
        {
            Directory.Delete(directory, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // containerd noticed the dead shim meanwhile, and cleans up too.
        }
    }

    /// <summary>Whatever is mounted at or below, deepest first: deleting must never reach into a mounted root.</summary>
    private static void Unmount(string directory)
    {
        foreach (var target in MountsBelow(directory))
        {
            // containerd, which noticed the dead shim meanwhile, may have been faster: what counts is that nothing is mounted.
            if (NativeMethods.Umount(target, NativeMethods.MntDetach | NativeMethods.UmountNoFollow) != 0
                && Marshal.GetLastPInvokeErrorMessage() is var why
                && MountsBelow(directory).Contains(target))
            {
                throw new DriverException("CleanupFailed", $"{target} cannot be unmounted: {why}", permanent: false);
            }
        }
    }

    private static List<string> MountsBelow(string directory) =>
    [
        .. File.ReadLines("/proc/self/mountinfo")
            .Select(line => line.Split(' ')[4])
            .Where(target => target == directory || target.StartsWith(directory + "/", StringComparison.Ordinal))
            .OrderByDescending(target => target.Length),
    ];
}
