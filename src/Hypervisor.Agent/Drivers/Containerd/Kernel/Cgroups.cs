using System.Globalization;

namespace Hypervisor.Agent.Drivers.Containerd.Kernel;

/// <summary>The control groups of our containers: what they count, and how everything in one is ended for certain.</summary>
internal sealed class Cgroups(string parent, TimeProvider time, string root = Cgroups.DefaultRoot)
{
    /// <summary>A reason.</summary>
    public const string CpuLimitFailed = "CpuLimitFailed";

    /// <summary>A reason.</summary>
    public const string DiskRateFailed = "DiskRateFailed";

    public const string DefaultRoot = "/sys/fs/cgroup";

    private readonly string _parent = parent.Trim('/');

    public string PathOf(string id) => $"/{_parent}/{id}";

    /// <summary>Whether anything of this id is left in any hierarchy.</summary>
    public bool Exists(string id) => Directories(id).Any();

    /// <summary>Its folder in each hierarchy that has one.</summary>
    public IEnumerable<string> DirectoriesOf(string id) => Directories(id);

    /// <summary>Of the group itself and of those below it, each once.</summary>
    public IReadOnlyList<int> Processes(string id) =>
        [.. Directories(id).SelectMany(WithChildren)
            .SelectMany(directory => ReadLines(Path.Combine(directory, "cgroup.procs")))
            .Select(line => int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out var pid) ? pid : 0)
            .Where(pid => pid > 0)
            .Distinct()];

    /// <summary>Ids under our parent in any hierarchy: containers, also those that the runtime no longer knows.</summary>
    public IReadOnlyList<string> List() =>
        [.. Hierarchies()
            .Select(hierarchy => Path.Combine(hierarchy, _parent))
            .Where(Directory.Exists)
            .SelectMany(Directory.EnumerateDirectories)
            .Select(path => Path.GetFileName(path)!)
            .Distinct(StringComparer.Ordinal)
            .Order(StringComparer.Ordinal)];

    /// <summary>
    /// Limits the CPU time of a group that the runtime has made and in which nothing of the user's runs yet. Not the runtime's
    /// task: its own preparation takes place in the group, and under a small limit would take seconds.
    /// </summary>
    /// <exception cref="DriverException">CpuLimitFailed.</exception>
    public void LimitCpu(string id, long millicores)
    {
        var (quota, period) = CpuQuota.Of(millicores);
        try
        {
            foreach (var directory in Directories(id))
            {
                if (Path.Combine(directory, "cpu.max") is var max && File.Exists(max))
                {
                    File.WriteAllText(max, string.Create(CultureInfo.InvariantCulture, $"{quota} {period}"));
                    return;
                }

                if (Path.Combine(directory, "cpu.cfs_quota_us") is var legacy && File.Exists(legacy))
                {
                    File.WriteAllText(Path.Combine(directory, "cpu.cfs_period_us"), period.ToString(CultureInfo.InvariantCulture));
                    File.WriteAllText(legacy, quota.ToString(CultureInfo.InvariantCulture));
                    return;
                }
            }
        }
        catch (IOException error)
        {
            throw Failed(error.Message, error);
        }

        throw Failed("the kernel offers no CPU controller there", null);

        DriverException Failed(string why, Exception? inner) => new(
            CpuLimitFailed, $"the CPU limit cannot be set on the cgroup {PathOf(id)}: {why}", permanent: false, inner);
    }

    /// <summary>Limits what a group as in <see cref="LimitCpu"/> does with a device: what the runtime does to start it is no part of the instance.</summary>
    /// <param name="device">"254:0"; a whole disk.</param>
    /// <exception cref="DriverException">DiskRateFailed.</exception>
    public void LimitDisk(string id, string device, IoRate rate)
    {
        try
        {
            foreach (var directory in Directories(id))
            {
                if (Path.Combine(directory, "io.max") is var max && File.Exists(max))
                {
                    // Of no key but these; a zero would be refused.
                    var keys = new[] { ("rbps", rate.ReadBytes), ("wbps", rate.WriteBytes), ("riops", rate.ReadOperations), ("wiops", rate.WriteOperations) };
                    File.WriteAllText(max, $"{device} {string.Join(' ', keys.Where(key => key.Item2 > 0).Select(key => $"{key.Item1}={Text(key.Item2)}"))}");
                    return;
                }

                if (File.Exists(Path.Combine(directory, "blkio.throttle.read_bps_device")))
                {
                    Throttle(directory, "read_bps", rate.ReadBytes);
                    Throttle(directory, "write_bps", rate.WriteBytes);
                    Throttle(directory, "read_iops", rate.ReadOperations);
                    Throttle(directory, "write_iops", rate.WriteOperations);
                    return;
                }
            }
        }
        catch (IOException error)
        {
            throw Failed(error.Message, error);
        }

        throw Failed("the kernel offers no controller of devices there", null);

        // A zero means no limit.
        void Throttle(string directory, string name, long limit) =>
            File.WriteAllText(Path.Combine(directory, $"blkio.throttle.{name}_device"), $"{device} {Text(limit)}");

        static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

        DriverException Failed(string why, Exception? inner) => new(
            DiskRateFailed, $"the disk's rate cannot be set on the cgroup {PathOf(id)} for the device {device}: {why}", permanent: false, inner);
    }

    /// <summary>Whether the kernel killed a process of it for want of memory. False when the group is gone.</summary>
    public bool WasOutOfMemory(string id)
    {
        foreach (var directory in Directories(id))
        {
            foreach (var file in new[] { "memory.oom_control", "memory.events" })
            {
                if (ReadLines(Path.Combine(directory, file)).Any(IsKill))
                {
                    return true;
                }
            }
        }

        return false;

        static bool IsKill(string line) =>
            line.StartsWith("oom_kill ", StringComparison.Ordinal)
            && long.TryParse(line.AsSpan("oom_kill ".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var kills)
            && kills > 0;
    }

    /// <summary>
    /// Kills whatever still runs in the group and removes it. Needed when the shim is gone and nobody else knows of the
    /// processes; does nothing when there is no group.
    /// </summary>
    /// <exception cref="DriverException">ProcessUnkillable: processes are still there after <see cref="ContainerdLimits.Kill"/>.</exception>
    public async Task EraseAsync(string id, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(ContainerdLimits.Kill, time);
        while (true)
        {
            // Deepest first: a group with children cannot be removed.
            var directories = Directories(id).SelectMany(WithChildren).ToList();
            if (directories.Count == 0)
            {
                return;
            }

            foreach (var directory in directories)
            {
                Thaw(directory);
                foreach (var line in ReadLines(Path.Combine(directory, "cgroup.procs")))
                {
                    if (int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && pid > 0)
                    {
                        NativeMethods.Kill(pid, NativeMethods.SigKill);
                    }
                }
            }

            if (!directories.Select(Remove).Aggregate(true, (all, removed) => all && removed))
            {
                if (deadline.IsCancellationRequested)
                {
                    throw new DriverException(
                        "ProcessUnkillable", $"processes in the cgroup {PathOf(id)} do not end although they were killed", permanent: false);
                }

                await Task.Delay(ContainerdLimits.KillPoll, time, cancellationToken);
            }
        }
    }

    /// <summary>A frozen process dies of SIGKILL only once it is thawed (v1).</summary>
    private static void Thaw(string directory)
    {
        foreach (var (file, thawed) in new[] { ("freezer.state", "THAWED"), ("cgroup.freeze", "0") })
        {
            var path = Path.Combine(directory, file);
            if (File.Exists(path))
            {
                try
                {
                    File.WriteAllText(path, thawed);
                }
                catch (IOException)
                {
                    // The group went away between the two calls: there is nothing to thaw.
                }
            }
        }
    }

    private static bool Remove(string directory)
    {
        // Directory.Delete works by rmdir, which is how a cgroup is removed; the files in it are not entries.
        return NativeMethods.Rmdir(directory) == 0 || !Directory.Exists(directory);
    }

    private static IEnumerable<string> WithChildren(string directory)
    {
        string[] children;
        try
        {
            children = Directory.GetDirectories(directory);
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }

        return children.SelectMany(WithChildren).Append(directory);
    }

    private IEnumerable<string> Directories(string id) =>
        Hierarchies().Select(hierarchy => Path.Combine(hierarchy, _parent, id)).Where(Directory.Exists);

    private IEnumerable<string> Hierarchies() =>
        File.Exists(Path.Combine(root, "cgroup.controllers")) || !Directory.Exists(root)
            ? [root]
            : Directory.EnumerateDirectories(root);

    private static string[] ReadLines(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (IOException)
        {
            // Removed between the two calls (ENODEV, ENOENT).
            return [];
        }
    }
}
