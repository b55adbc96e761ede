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
        yield return Path.Combine(options.RuncRoot, options.Namespace, id);
    }

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
        var below = directory + "/";
        foreach (var target in File.ReadLines("/proc/self/mountinfo")
            .Select(line => line.Split(' ')[4])
            .Where(target => target == directory || target.StartsWith(below, StringComparison.Ordinal))
            .OrderByDescending(target => target.Length)
            .ToList())
        {
            if (NativeMethods.Umount(target, NativeMethods.MntDetach | NativeMethods.UmountNoFollow) != 0)
            {
                throw new DriverException("CleanupFailed", $"{target} cannot be unmounted", permanent: false);
            }
        }
    }
}
