namespace Hypervisor.TestCluster;

/// <summary>
/// What a cluster's instances have on the machine, read from the kernel and from containerd by other means than the product's.
/// </summary>
internal sealed class Leftovers(LocalCluster cluster)
{
    /// <summary>One line per thing, sorted. Empty when no instance has left a trace.</summary>
    public async Task<IReadOnlyList<string>> ListAsync()
    {
        var found = new List<string>();
        found.AddRange(InstanceProcesses().Select(pid => $"process {pid}"));
        found.AddRange(Shims().Select(pid => $"shim {pid}"));
        found.AddRange(InstanceCgroups().Select(cgroup => $"cgroup {cgroup}"));
        found.AddRange(Mounts().Select(mount => $"mount {mount}"));
        found.AddRange(Files($"{cluster.RunFolder}/agent/netns").Select(file => $"namespace {file}"));
        found.AddRange(Files($"{cluster.Folder}/agent/network/attachments").Select(file => $"attachment {file}"));
        found.AddRange(Files($"{cluster.RunFolder}/containerd/io.containerd.runtime.v2.task/hypervisor").Select(file => $"bundle {file}"));
        var links = await Shell.RunAsync("ip", "-n", cluster.Id, "-o", "link", "show", "type", "veth");
        found.AddRange(Lines(links).Select(link => $"link {link}"));
        // Elements of maps are published ports; the set of the node's own subnets stays.
        var rules = await Shell.RunAsync("nsenter", $"--net={cluster.NetworkNamespace}", "--", "nft", "list", "ruleset");
        found.AddRange(Lines(rules).Where(rule => rule.Contains(" : ", StringComparison.Ordinal) && rule.Contains("elements", StringComparison.Ordinal))
            .Select(rule => $"nft {rule.Trim()}"));
        if (cluster.Containerd.IsRunning)
        {
            foreach (var (kind, arguments) in new (string, string[])[]
                { ("container", ["containers", "list", "-q"]), ("task", ["tasks", "list", "-q"]), ("snapshot", ["snapshots", "list"]), ("lease", ["leases", "list", "-q"]) })
            {
                var output = await ContainerdAsync(arguments);
                found.AddRange(Lines(output).Where(line => kind != "snapshot" || line.TrimEnd().EndsWith("Active", StringComparison.Ordinal))
                    .Select(line => $"{kind} {line.Trim()}"));
            }
        }

        found.Sort(StringComparer.Ordinal);
        return found;
    }

    public Task<string> ContainerdAsync(params string[] arguments) =>
        Shell.RunAsync("ctr", ["--address", cluster.ContainerdSocket, "--namespace", "hypervisor", .. arguments]);

    /// <summary>Processes inside instances, by their cgroup.</summary>
    public IReadOnlyList<int> InstanceProcesses() =>
        [.. InstanceCgroups().SelectMany(cgroup => ReadLines($"{cgroup}/cgroup.procs")).Select(int.Parse).Distinct()];

    public IReadOnlyList<int> Shims() => [.. Directory.GetDirectories("/proc")
        .Select(Path.GetFileName)
        .Where(name => int.TryParse(name, out _))
        .Select(name => int.Parse(name!))
        .Where(pid => CommandLine(pid) is var line && line.Contains("containerd-shim", StringComparison.Ordinal)
            && line.Contains(cluster.ContainerdSocket, StringComparison.Ordinal))];

    /// <summary>Ends and removes everything of the cluster, whatever state it is in.</summary>
    public async Task RemoveAsync()
    {
        var sockets = Sockets();
        foreach (var freezer in InstanceCgroups().Select(cgroup => $"{cgroup}/freezer.state").Where(File.Exists))
        {
            await File.WriteAllTextAsync(freezer, "THAWED");
        }

        foreach (var pid in InstanceProcesses().Concat(Shims()))
        {
            Linux.Signal(pid, Linux.SignalKill);
        }

        await RealTime.UntilAsync("the instances' processes end", TimeSpan.FromSeconds(10), () => InstanceProcesses().Count == 0 && Shims().Count == 0);
        await cluster.Containerd.DisposeAsync();
        var late = Shims();
        foreach (var pid in late)
        {
            Linux.Signal(pid, Linux.SignalKill);
        }

        foreach (var socket in sockets)
        {
            File.Delete(socket);
        }

        foreach (var mount in Mounts().OrderDescending(StringComparer.Ordinal))
        {
            await Shell.TryRunAsync("umount", ["-l", mount]);
        }

        foreach (var cgroup in InstanceCgroups().OrderByDescending(path => path.Length))
        {
            try
            {
                Directory.Delete(cgroup);
            }
            catch (DirectoryNotFoundException)
            {
            }
        }

        if (File.Exists(cluster.NetworkNamespace))
        {
            await Shell.RunAsync("ip", "netns", "delete", cluster.Id);
        }

        foreach (var folder in new[] { cluster.RunFolder, cluster.Folder }.Where(Directory.Exists))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Of the shims, in a folder that all containerds share; the kernel lists those of the cluster's network namespace.</summary>
    private HashSet<string> Sockets() => [.. (cluster.Containerd.IsRunning ? ReadLines($"/proc/{cluster.Containerd.Id}/net/unix") : [])
        .Select(line => line.Split(' ')[^1])
        .Where(path => path.StartsWith("/run/containerd/s/", StringComparison.Ordinal))];

    private IEnumerable<string> InstanceCgroups() => Directory.GetDirectories("/sys/fs/cgroup")
        .Select(controller => controller + cluster.CgroupParent)
        .Where(Directory.Exists)
        .SelectMany(parent => Directory.GetDirectories(parent, "*", SearchOption.AllDirectories));

    private IEnumerable<string> Mounts() => ReadLines("/proc/self/mountinfo")
        .Select(line => line.Split(' ')[4])
        .Where(path => path.StartsWith(cluster.Folder + "/", StringComparison.Ordinal) || path.StartsWith(cluster.RunFolder + "/", StringComparison.Ordinal));

    private static IEnumerable<string> Files(string folder) => Directory.Exists(folder) ? Directory.EnumerateFileSystemEntries(folder) : [];

    private static string CommandLine(int pid) => string.Concat(ReadLines($"/proc/{pid}/cmdline")).Replace('\0', ' ');

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string[] ReadLines(string file)
    {
        try
        {
            return File.ReadAllLines(file);
        }
        catch (IOException)
        {
            // The process or cgroup went away between listing and reading.
            return [];
        }
    }
}
