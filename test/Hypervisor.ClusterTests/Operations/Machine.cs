using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>Everything on a machine that a cluster could leave behind, as lines that can be compared.</summary>
internal static class Machine
{
    /// <param name="enter">Arguments of nsenter that reach the network namespace looked at.</param>
    public static async Task<IReadOnlyList<string>> SnapshotAsync(params string[] enter)
    {
        var lines = new List<string>();
        lines.AddRange(Processes());
        lines.AddRange(File.ReadLines("/proc/self/mountinfo").Select(line => $"mount {line.Split(' ')[4]}"));
        lines.AddRange(Lines(await InsideAsync(enter, "ip", "-o", "link")).Select(line => $"link {line.Split(':')[1].Trim()}"));
        lines.AddRange(Lines(await InsideAsync(enter, "ip", "-o", "address")).Select(line => $"address {line.Trim()}"));
        lines.AddRange(Lines(await InsideAsync(enter, "nft", "list", "tables")).Select(line => $"nft {line.Trim()}"));
        lines.AddRange(Lines(await InsideAsync(enter, "sysctl", "-a", "--ignore", "--pattern", "^net\\.ipv4\\.(ip_forward|conf\\..*\\.(forwarding|route_localnet))"))
            .Select(line => $"sysctl {line}"));
        lines.AddRange(Tree("/run", 4).Select(path => $"run {path}"));
        lines.AddRange(Tree("/sys/fs/cgroup", 3).Where(Directory.Exists).Select(path => $"cgroup {path}"));
        lines.AddRange(Tree("/opt", 1).Concat(Tree("/var/lib", 1)).Select(path => $"path {path}"));
        lines.Sort(StringComparer.Ordinal);
        return [.. lines.Distinct()];
    }

    // The kernel's own threads come and go; the tests' and their ancestors' are not the cluster's.
    private static IEnumerable<string> Processes() => Directory.GetDirectories("/proc")
        .Select(Path.GetFileName)
        .Where(name => int.TryParse(name, out _))
        .Select(pid => Read($"/proc/{pid}/cmdline").Replace('\0', ' ').Trim())
        .Where(command => command.Contains("hypervisor-", StringComparison.Ordinal) || command.Contains("containerd", StringComparison.Ordinal)
            || command.StartsWith("httpd", StringComparison.Ordinal) || command.StartsWith("sleep", StringComparison.Ordinal))
        .Select(command => $"process {command}");

    private static IEnumerable<string> Tree(string folder, int depth)
    {
        foreach (var entry in Directory.EnumerateFileSystemEntries(folder))
        {
            yield return entry;
            if (depth > 1 && Directory.Exists(entry) && new DirectoryInfo(entry).LinkTarget is null)
            {
                foreach (var below in Tree(entry, depth - 1))
                {
                    yield return below;
                }
            }
        }
    }

    private static Task<string> InsideAsync(string[] enter, string program, params string[] arguments) =>
        Shell.RunAsync("nsenter", [.. enter, "--", program, .. arguments]);

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
