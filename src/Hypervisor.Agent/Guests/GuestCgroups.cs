using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Containerd.Kernel;

namespace Hypervisor.Agent.Guests;

/// <summary>A control group for the CPU time of a VMM's process, which has its guest's virtual CPUs as threads.</summary>
/// <remarks>Memory needs none: a guest cannot use more than the machine has, and the VMM's own is small.</remarks>
internal sealed class GuestCgroups(string parent, TimeProvider time, string root = Cgroups.DefaultRoot)
{
    private readonly string _parent = parent.Trim('/');
    private readonly Cgroups _groups = new(parent, time, root);

    /// <summary>Makes the group and limits it.</summary>
    /// <returns>A file to which a process that has one thread writes "0" to be in it.</returns>
    /// <exception cref="DriverException">CpuLimitFailed.</exception>
    public string Make(string id, long millicores)
    {
        try
        {
            var above = Path.Combine(Hierarchy(), _parent);
            Directory.CreateDirectory(above);
            foreach (var folder in (string[])[Hierarchy(), above])
            {
                // Version 2 hands controllers down; version 1 has no such file.
                if (Path.Combine(folder, "cgroup.subtree_control") is var control && File.Exists(control))
                {
                    File.WriteAllText(control, "+cpu");
                }
            }

            var group = Path.Combine(above, id);
            Directory.CreateDirectory(group);
            _groups.LimitCpu(id, millicores);

            // Version 1 has a file for single threads, which need not wait until no process of the machine begins or ends.
            return Path.Combine(group, "tasks") is var threads && File.Exists(threads) ? threads : Path.Combine(group, "cgroup.procs");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new DriverException(
                Cgroups.CpuLimitFailed, $"the CPU limit cannot be set on the cgroup {_groups.PathOf(id)}: {error.Message}", permanent: false, error);
        }
    }

    /// <summary>Nothing when there is none.</summary>
    public Task EraseAsync(string id, CancellationToken cancellationToken) => _groups.EraseAsync(id, cancellationToken);

    private string Hierarchy() => Directory.EnumerateDirectories(root).FirstOrDefault(folder => File.Exists(Path.Combine(folder, "cpu.cfs_quota_us")) || Path.GetFileName(folder) is "cpu" or "cpu,cpuacct")
        ?? root;
}
