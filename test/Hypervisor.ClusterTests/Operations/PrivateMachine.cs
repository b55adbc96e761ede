using System.Diagnostics;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Namespaces of a test's own for processes, mounts and the network, with an empty <c>/run</c>: everything seen in them is there
/// because of the test, so a snapshot need not know what to look for. Files elsewhere and cgroups are the host's.
/// </summary>
internal sealed class PrivateMachine : IAsyncDisposable
{
    // Everything ends with the first process, which ends with its input. A shell: it also waits for orphans, as an init does. The
    // first process reads its own id before /proc becomes that of the namespace. Copies of other clusters' mounts would vanish
    // with their originals at any time.
    private const string FirstProcess = """
        read -r pid _ < /proc/self/stat
        awk '$4 ~ /^net:/ || $5 ~ /\/rootfs$/ { print $5 }' /proc/self/mountinfo | sort -r | while read -r copy; do umount -l "$copy"; done
        mount -t proc proc /proc
        mount -t tmpfs -o mode=755 tmpfs /run
        ip link set lo up
        echo "$pid"
        read -r _
        """;

    private readonly Process _process;
    private readonly int _first;

    private PrivateMachine(Process process, int first) => (_process, _first) = (process, first);

    public static async Task<PrivateMachine> StartAsync()
    {
        var start = new ProcessStartInfo("unshare") { RedirectStandardInput = true, RedirectStandardOutput = true };
        string[] arguments = ["--mount", "--propagation", "private", "--pid", "--net", "--fork", "bash", "-euc", FirstProcess];
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        var process = Process.Start(start) ?? throw new InvalidOperationException("unshare did not start");
        var line = await process.StandardOutput.ReadLineAsync();
        return int.TryParse(line, out var first)
            ? new(process, first)
            : throw new InvalidOperationException($"the namespaces could not be made: {line}");
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(10), RealTime.Clock);
        await _process.WaitForExitAsync(deadline.Token);
        _process.Dispose();
    }

    public async Task<(int ExitCode, string Output)> TryRunAsync(
        string program, string[] arguments, TimeSpan? timeout = null, IReadOnlyDictionary<string, string>? environment = null)
    {
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "nsenter", [$"--target={_first}", "--mount", "--net", "--pid", "--", program, .. arguments], timeout, environment);
        return (exitCode, output + error);
    }

    public async Task<string> RunAsync(string program, params string[] arguments)
    {
        var (exitCode, output) = await TryRunAsync(program, arguments);
        return exitCode == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {exitCode}: {output}");
    }

    /// <summary>Every process but the one that keeps the machine up gets SIGKILL, all at once.</summary>
    public Task KillEverythingAsync() => TryRunAsync("bash", ["-c", "kill -KILL -1"]);

    /// <summary>Everything on the machine that a cluster could leave behind, as lines that can be compared.</summary>
    public async Task<IReadOnlyList<string>> SnapshotAsync()
    {
        var lines = new List<string>();
        lines.AddRange(await Processes());
        foreach (var (kind, program, arguments) in new (string, string, string[])[]
        {
            ("mount", "cat", ["/proc/1/mountinfo"]),
            ("namespace", "lsns", ["--noheadings", "--output", "NS,TYPE,NPROCS"]),
            ("link", "ip", ["-o", "link"]),
            ("address", "ip", ["-o", "address"]),
            ("route", "ip", ["route", "show", "table", "all"]),
            ("neighbour", "ip", ["neighbour"]),
            ("nft", "nft", ["list", "ruleset"]),
            ("sysctl", "sysctl", ["-a", "--ignore", "--pattern", @"^net\.(ipv4|ipv6|bridge)\."]),
            ("run", "find", ["/run", "-mindepth", "1", "-printf", "%p %y %m %U:%G\\n"]),
        })
        {
            lines.AddRange(Lines(await RunAsync(program, arguments)).Select(line => $"{kind} {line.Trim()}"));
        }

        lines.AddRange(Cgroups("/sys/fs/cgroup").Select(path => $"cgroup {path}"));
        lines.AddRange(new[] { "/opt", "/var/lib" }.SelectMany(Directory.EnumerateFileSystemEntries).Select(path => $"path {path}"));
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    /// <summary>Id and start time together name a process for good. What looks does not count.</summary>
    private async Task<IEnumerable<string>> Processes()
    {
        const string Look = """
            for stat in /proc/[0-9]*/stat; do read -r line < "$stat" && printf '%s\n' "$line"; done
            """;
        return Lines(await RunAsync("bash", "-c", Look)).Select(line =>
        {
            // proc(5): the name stands in parentheses, and the start time is field 22.
            var name = line[..(line.LastIndexOf(')') + 1)];
            return (name, Fields: line[(name.Length + 1)..].Split(' '));
        }).Where(process => process.Fields[1] != "0" || process.name.StartsWith("1 ", StringComparison.Ordinal))
            .Select(process => $"process {process.name} {process.Fields[19]}");
    }

    // The host's, on which systemd and other tests' clusters may be at work. The kernel removes none by itself.
    private static IEnumerable<string> Cgroups(string folder) => Directory.EnumerateDirectories(folder)
        .Where(path => !(Path.GetFileName(path) is var name
            && (name is "system.slice" or "user.slice" or "init.scope" || name.StartsWith("hvt-", StringComparison.Ordinal))))
        .SelectMany(path => Cgroups(path).Prepend(path));

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
