using System.Text.RegularExpressions;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Software;

/// <summary>
/// The commands of <c>docs/examples.md</c> ("$ command", continued after a backslash) and the output below them, where "..." stands for
/// anything and what is not shown may be there too.
/// </summary>
internal sealed class ExamplesPage(LocalCluster cluster)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly string[] _lines = File.ReadAllLines($"{LocalCluster.Repository}/docs/examples.md");

    /// <summary>Types the commands below a heading in order, up to the one (not included) that begins with a text.</summary>
    public Task TypeAsync(string heading, string before) => TypeAsync(Steps(heading).TakeWhile(step => !step.Command.StartsWith(before, StringComparison.Ordinal)));

    /// <summary>Types the rest of the commands below a heading.</summary>
    public Task TypeRestAsync(string heading, string from) => TypeAsync(Steps(heading).SkipWhile(step => !step.Command.StartsWith(from, StringComparison.Ordinal)));

    private async Task TypeAsync(IEnumerable<(string Command, List<string> Output)> steps)
    {
        // A folder that looks like the source tree, so that what is made in it is not left there.
        foreach (var name in new[] { "bin", "scripts" }.Where(name => !Path.Exists($"{cluster.Folder}/tree/{name}")))
        {
            Directory.CreateDirectory($"{cluster.Folder}/tree");
            File.CreateSymbolicLink($"{cluster.Folder}/tree/{name}", $"{LocalCluster.Repository}/{name}");
        }

        foreach (var (command, expected) in steps)
        {
            // A server's process runs before it listens; a person would press the arrow key.
            var again = command.StartsWith("busybox wget", StringComparison.Ordinal) ? Patience : TimeSpan.Zero;
            var started = RealTime.Clock.GetTimestamp();
            while (await FaultAsync(command, expected) is { } fault)
            {
                if (RealTime.Clock.GetElapsedTime(started) > again)
                {
                    throw new InvalidOperationException($"docs/examples.md: $ {command}\n{fault}");
                }

                await Task.Delay(TimeSpan.FromMilliseconds(100), RealTime.Clock);
            }
        }
    }

    /// <returns>Null when it went as the page says.</returns>
    private async Task<string?> FaultAsync(string command, List<string> expected)
    {
        // What makes an image downloads Debian's packages, and the cluster's network ends at its own bridge.
        string[] inside = command.StartsWith("scripts/", StringComparison.Ordinal) ? [] : ["nsenter", $"--net={cluster.NetworkNamespace}", "--"];
        string[] words = [.. inside, "bash", "-c", command];
        var (exitCode, output, error) = await Shell.TryRunAsync(
            words[0], words[1..], TimeSpan.FromMinutes(5), workingDirectory: $"{cluster.Folder}/tree");
        var written = output + error;
        var pattern = string.Join(".*", expected.Select(line =>
            string.Join(@"\s+", line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Regex.Escape)).Replace(@"\.\.\.", ".*", StringComparison.Ordinal)));
        return exitCode != 0 ? $"ended with {exitCode}: {written}"
            : !Regex.IsMatch(written, pattern, RegexOptions.Singleline) ? $"wrote: {written}"
            : null;
    }

    private List<(string Command, List<string> Output)> Steps(string heading)
    {
        const string Indent = "    ";
        var steps = new List<(string Command, List<string> Output)>();
        var continued = false;
        foreach (var line in _lines.SkipWhile(line => line != $"## {heading}").Skip(1).TakeWhile(line => !line.StartsWith("## ", StringComparison.Ordinal)))
        {
            if (continued)
            {
                steps[^1] = (steps[^1].Command + "\n" + line.Trim(), []);
            }
            else if (line.StartsWith(Indent + "$ ", StringComparison.Ordinal))
            {
                steps.Add((line[(Indent.Length + 2)..], []));
            }
            else if (line.StartsWith(Indent, StringComparison.Ordinal))
            {
                steps[^1].Output.Add(line.Trim());
            }

            continued = line.EndsWith('\\');
        }

        return steps.Count > 0 ? steps : throw new InvalidOperationException($"docs/examples.md has no commands under '{heading}'");
    }
}
