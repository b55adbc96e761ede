namespace Hypervisor.TestCluster;

/// <summary>
/// What instances have on a machine of a cluster, read from the kernel and from containerd by other means than the product's.
/// </summary>
internal sealed class Leftovers(LocalMachine machine)
{
    /// <summary>One line per thing, sorted. Empty when no instance has left a trace.</summary>
    public async Task<IReadOnlyList<string>> ListAsync()
    {
        var found = new List<string>();
        found.AddRange(InstanceProcesses().Select(pid => $"process {pid}"));
        found.AddRange(Shims().Select(pid => $"shim {pid}"));
        found.AddRange(InstanceCgroups().Select(cgroup => $"cgroup {cgroup}"));
        found.AddRange(Mounts().Select(mount => $"mount {mount}"));
        found.AddRange(Files($"{machine.RunFolder}/agent/netns").Select(file => $"namespace {file}"));
        found.AddRange(Files($"{machine.NodeFolder}/agent/network/attachments").Select(file => $"attachment {file}"));
        var tasks = $"containerd/io.containerd.runtime.v2.task/{machine.ContainerdNamespace}";
        found.AddRange(Files($"{machine.RunFolder}/{tasks}").Select(file => $"bundle {file}"));
        found.AddRange(Files($"{machine.NodeFolder}/{tasks}").Select(file => $"work {file}"));
        found.AddRange(Files($"{machine.RunFolder}/agent/containerd/instances").Select(file => $"files {file}"));
        found.AddRange(Files($"{machine.RunFolder}/agent/containerd/mounts").Select(file => $"look {file}"));
        found.AddRange(Files($"{machine.RunFolder}/agent/containerd/exec").Select(file => $"exec {file}"));
        found.AddRange(Machines().Select(pid => $"machine {pid}"));
        foreach (var type in new[] { "vm", "microvm" })
        {
            found.AddRange(Files($"{machine.NodeFolder}/agent/guests/{type}").Select(file => $"guest {file}"));
            found.AddRange(Files($"{machine.RunFolder}/agent/{type[0]}").Select(file => $"sockets {file}"));
        }

        found.AddRange(Files($"{machine.RunFolder}/agent/qemu").Select(file => $"qemu {file}"));
        found.AddRange(Files($"{machine.RunFolder}/agent/firecracker").Select(file => $"firecracker {file}"));
        found.AddRange(Files($"{machine.NodeFolder}/agent/jails").Select(file => $"jail {file}"));
        found.AddRange(Files($"{machine.NodeFolder}/agent/libvirt").Select(file => $"libvirt {file}"));
        foreach (var folder in new[] { "etc/qemu", "log/qemu", "lib/qemu/save", "lib/qemu/nvram", "lib/qemu/snapshot" })
        {
            found.AddRange(Files($"{machine.NodeFolder}/libvirt/{folder}").Where(file => file.Contains("zixiao-", StringComparison.Ordinal)).Select(file => $"domain {file}"));
        }

        found.AddRange(Files(RuncState).Select(file => $"runc {file}"));
        var links = await Shell.RunAsync("ip", "-n", machine.Id, "-o", "link", "show", "type", "veth")
            + await Shell.RunAsync("ip", "-n", machine.Id, "-o", "link", "show", "type", "tun");
        // "8: hv-0a800007@if2: …": the name without the numbers, which are others after a repair.
        found.AddRange(Lines(links).Select(link => $"link {link.Split(' ')[1].Split('@')[0].TrimEnd(':')}"));
        // Elements of maps are published ports; the set of the node's own subnets stays.
        var rules = await Shell.RunAsync("nsenter", $"--net={machine.NetworkNamespace}", "--", "nft", "list", "ruleset");
        found.AddRange(Lines(rules).Where(rule => rule.Contains(" : ", StringComparison.Ordinal) && rule.Contains("elements", StringComparison.Ordinal))
            .Select(rule => $"nft {rule.Trim()}"));
        if (machine.Containerd.IsRunning)
        {
            foreach (var (kind, arguments) in new (string, string[])[]
            {
                ("container", ["containers", "list", "-q"]),
                ("task", ["tasks", "list", "-q"]),
                ("snapshot", ["snapshots", "list"]),
                ("lease", ["leases", "list", "-q"]),
                ("ingest", ["content", "active"]),
            })
            {
                // A containerd that was just started does not answer yet: then nobody knows, which equals nothing.
                var (exitCode, output, error) = await Shell.TryRunAsync("ctr", Ctr(arguments));
                if (exitCode != 0)
                {
                    found.Add($"{kind}s unknown: {error}");
                    continue;
                }

                // Committed snapshots are unpacked images; the first line of tables is a heading.
                found.AddRange(Lines(output)
                    .Where(line => kind != "snapshot" || line.TrimEnd().Split(' ')[^1] is "Active" or "View")
                    .Where(line => kind != "ingest" || !line.StartsWith("REF", StringComparison.Ordinal))
                    .Select(line => $"{kind} {line.Trim()}"));
            }
        }

        found.Sort(StringComparer.Ordinal);
        return found;
    }

    public Task<string> ContainerdAsync(params string[] arguments) =>
        Shell.RunAsync("ctr", Ctr(arguments));

    private string[] Ctr(string[] arguments) => ["--address", machine.ContainerdSocket, "--namespace", machine.ContainerdNamespace, .. arguments];

    /// <summary>Processes inside instances, by their cgroup.</summary>
    public IReadOnlyList<int> InstanceProcesses() =>
        [.. InstanceCgroups().SelectMany(cgroup => ReadLines($"{cgroup}/cgroup.procs")).Select(int.Parse).Distinct()];

    public IReadOnlyList<int> Shims() =>
        Processes(line => line.Contains("containerd-shim", StringComparison.Ordinal) && line.Contains(machine.ContainerdSocket, StringComparison.Ordinal));

    /// <summary>Of VMMs, by the folders that their sockets and disks are in. Firecracker has only names without folders: it works in its guest's.</summary>
    public IReadOnlyList<int> Machines() =>
    [
        .. Processes(line => (line.Contains("-name zixiao-", StringComparison.Ordinal) || line.Contains("-name guest=zixiao-", StringComparison.Ordinal)) && IsOfAgent(line)),
        .. Processes(line => line.Contains(" --api-sock ", StringComparison.Ordinal)).Where(WorksForAgent),
    ];

    /// <summary>Ends and removes everything of the machine, whatever state it is in.</summary>
    public async Task RemoveAsync()
    {
        await LoseMemoryAsync();
        await machine.Containerd.DisposeAsync();
        await (machine.Libvirtd?.DisposeAsync() ?? ValueTask.CompletedTask);
        if (Directory.Exists(machine.Folder))
        {
            await UnmountAsync();
            Directory.Delete(machine.Folder, recursive: true);
        }
    }

    /// <summary>
    /// Everything below the agent that a power cut ends: containerd first, so that it notes nothing, then shims and instances, and
    /// what the kernel and file systems in memory hold of them.
    /// </summary>
    public async Task LoseMemoryAsync()
    {
        await machine.Containerd.KillAsync();
        await (machine.Libvirtd?.KillAsync() ?? Task.CompletedTask);
        var sockets = await SocketsAsync();
        foreach (var freezer in InstanceCgroups().Select(cgroup => $"{cgroup}/freezer.state").Where(File.Exists))
        {
            await File.WriteAllTextAsync(freezer, "THAWED");
        }

        await RealTime.UntilAsync("the instances' processes end", TimeSpan.FromSeconds(10), () =>
        {
            List<int> alive = [.. Shims(), .. Processes(IsOfAgent), .. Machines(), .. InstanceProcesses()];
            alive.ForEach(pid => Linux.Signal(pid, Linux.SignalKill));
            return alive.Count == 0;
        });
        foreach (var socket in sockets)
        {
            File.Delete(socket);
        }

        // A node's own disk stays.
        await UnmountAsync(machine.NodeFolder);
        foreach (var cgroup in InstanceCgroups().OrderByDescending(path => path.Length).Concat(CgroupParents()).ToList())
        {
            try
            {
                Directory.Delete(cgroup);
            }
            catch (DirectoryNotFoundException)
            {
            }
        }

        if (File.Exists(machine.NetworkNamespace))
        {
            await Shell.RunAsync("ip", "netns", "delete", machine.Id);
        }

        foreach (var folder in new[] { machine.RunFolder, RuncState }.Where(Directory.Exists))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static IReadOnlyList<int> Processes(Func<string, bool> commandLine) => [.. Directory.GetDirectories("/proc")
        .Select(Path.GetFileName)
        .Where(name => int.TryParse(name, out _))
        .Select(name => int.Parse(name!))
        .Where(pid => commandLine(CommandLine(pid)))];

    /// <summary>Started by the agent and meant to outlive it: VMMs and the DHCP server.</summary>
    private bool IsOfAgent(string commandLine) =>
        commandLine.Contains($"{machine.RunFolder}/agent/", StringComparison.Ordinal) || commandLine.Contains($"{machine.NodeFolder}/agent/", StringComparison.Ordinal);

    private bool WorksForAgent(int pid) => new FileInfo($"/proc/{pid}/cwd").LinkTarget is { } folder && IsOfAgent(folder + "/");

    /// <summary>Of runc as containerd's shim calls it; the folder above is shared by all containerds.</summary>
    private string RuncState => $"/run/containerd/runc/{machine.ContainerdNamespace}";

    private async Task UnmountAsync(string? except = null)
    {
        foreach (var mount in Mounts().Where(mount => mount != except).OrderDescending(StringComparer.Ordinal))
        {
            await Shell.TryRunAsync("umount", ["-l", mount]);
        }
    }

    /// <summary>Of the shims, in a folder that all containerds share; the kernel lists those of the cluster's network namespace.</summary>
    private async Task<HashSet<string>> SocketsAsync()
    {
        if (!File.Exists(machine.NetworkNamespace))
        {
            return [];
        }

        var sockets = await Shell.RunAsync("nsenter", $"--net={machine.NetworkNamespace}", "--", "cat", "/proc/net/unix");
        return [.. Lines(sockets).Select(line => line.Split(' ')[^1]).Where(path => path.StartsWith("/run/containerd/s/", StringComparison.Ordinal))];
    }

    private IEnumerable<string> CgroupParents() => Directory.GetDirectories("/sys/fs/cgroup")
        .SelectMany(controller => new[] { controller + machine.CgroupParent, controller + machine.CgroupParent + "-guests" })
        .Where(Directory.Exists);

    private IEnumerable<string> InstanceCgroups() => CgroupParents()
        .SelectMany(parent => Directory.GetDirectories(parent, "*", SearchOption.AllDirectories));

    private IEnumerable<string> Mounts() => ReadLines("/proc/self/mountinfo")
        .Select(line => line.Split(' ')[4])
        .Where(path => path.StartsWith(machine.Folder + "/", StringComparison.Ordinal) || path.StartsWith(machine.RunFolder + "/", StringComparison.Ordinal));

    private static IEnumerable<string> Files(string folder) => Directory.Exists(folder) ? Directory.EnumerateFileSystemEntries(folder) : [];

    public static string CommandLine(int pid) => string.Concat(ReadLines($"/proc/{pid}/cmdline")).Replace('\0', ' ');

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
