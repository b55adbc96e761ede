using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Tests.Docs;

/// <summary>
/// A fenced block of docs/scheduling.md and the comment before it, which says on what nodes it is run and what comes of it:
/// <c>&lt;!-- example: nodes a zone=1, b memory=1GiB; there db app=db on a; before node cordon b; expect a pending: is cordoned --&gt;</c>.
/// </summary>
/// <param name="Line">Of the comment, counted from 1.</param>
/// <param name="Language">"yaml" is a file for each instance that is expected, or for a group when none is; anything else are command lines.</param>
/// <param name="Before">Command lines that come first.</param>
/// <param name="Expected">For each instance that is created: a node's name, or with <see cref="Waits"/> before it a part of why it waits.</param>
internal sealed partial record SchedulingExample(
    int Line,
    string Language,
    string Text,
    IReadOnlyList<RegisterNodeRequest> Nodes,
    IReadOnlyList<(CreateInstanceRequest Request, string Node)> There,
    IReadOnlyList<string> Before,
    IReadOnlyList<string> Expected)
{
    public const string Waits = "pending: ";

    private const string Device = "device:";

    public static string Page { get; } = File.ReadAllText(Path.Combine(DocumentedPathsTests.Root, "docs", "scheduling.md"));

    public static IReadOnlyList<SchedulingExample> All { get; } = [.. Fence().Matches(Page).Select(Of)];

    /// <summary>Every fence, with or without a comment.</summary>
    public static int Fences => AnyFence().Count(Page) / 2;

    /// <summary>A file that nothing is expected of but that it is taken.</summary>
    public bool IsGroup => Language == "yaml" && Expected.Count == 0;

    /// <summary>The command lines, each with what it is said to print; nothing said is an empty text.</summary>
    public IEnumerable<(string Command, string Output)> Commands()
    {
        var (command, output) = ("", new StringBuilder());
        foreach (var line in Text.TrimEnd('\n').Split('\n'))
        {
            if (CommandLine().Match(line) is { Success: true } match)
            {
                if (command.Length > 0)
                {
                    yield return (command, output.ToString());
                }

                command = match.Groups[1].Value;
                output.Clear();
            }
            else
            {
                output.Append(line).Append('\n');
            }
        }

        yield return (command, output.ToString());
    }

    /// <summary>As a shell splits them: quotes keep spaces together.</summary>
    public static string[] Words(string command) => [.. Word().Matches(command).Select(match => match.Value.Replace("'", "", StringComparison.Ordinal))];

    public override string ToString() => $"scheduling.md:{Line}";

    private static SchedulingExample Of(Match fence)
    {
        var line = Page.AsSpan(0, fence.Index).Count('\n') + 1;
        List<RegisterNodeRequest> nodes = [];
        List<(CreateInstanceRequest, string)> there = [];
        List<string> before = [];
        List<string> expected = [];
        foreach (var clause in fence.Groups["says"].Value.Split(';', StringSplitOptions.TrimEntries))
        {
            var (word, rest) = clause.IndexOf(' ', StringComparison.Ordinal) is > 0 and var space ? (clause[..space], clause[(space + 1)..]) : (clause, "");
            switch (word)
            {
                case "nodes":
                    nodes.AddRange(rest.Split(',', StringSplitOptions.TrimEntries).Select(Node));
                    break;
                case "there":
                    there.AddRange(rest.Split(',', StringSplitOptions.TrimEntries).Select(Neighbour));
                    break;
                case "before":
                    before.Add(rest);
                    break;
                case "expect":
                    expected.AddRange(Outcomes(rest));
                    break;
                default:
                    throw new FormatException($"scheduling.md:{line}: '{word}' is none of nodes, there, before, expect.");
            }
        }

        return new(line, fence.Groups["language"].Value, fence.Groups["text"].Value, nodes, there, before, expected);
    }

    private static string[] Outcomes(string text)
    {
        var waits = text.IndexOf(Waits, StringComparison.Ordinal);
        var nodes = (waits < 0 ? text : text[..waits]).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return waits < 0 ? nodes : [.. nodes, text[waits..]];
    }

    /// <summary>"a region=north zone=1 cpus=2 memory=1GiB device:gpu=2 disk=ssd": what is none of the first five is a label.</summary>
    private static RegisterNodeRequest Node(string text)
    {
        var words = text.Split(' ');
        var request = Server.ControlPlane.Registration(words[0]);
        foreach (var pair in words.Skip(1).Select(word => word.Split('=', 2)))
        {
            switch (pair[0])
            {
                case "region":
                    request.Inventory.Region = pair[1];
                    break;
                case "zone":
                    request.Inventory.Zone = pair[1];
                    break;
                case "cpus" when Quantity.TryMillicores(pair[1], out var millicores):
                    request.Inventory.Capacity.CpuMillicores = millicores;
                    break;
                case "memory" when Quantity.TryBytes(pair[1], null, out var bytes):
                    request.Inventory.Capacity.MemoryBytes = bytes;
                    break;
                case var device when device.StartsWith(Device, StringComparison.Ordinal):
                    request.Inventory.Capacity.Devices[device[Device.Length..]] = int.Parse(pair[1], CultureInfo.InvariantCulture);
                    break;
                default:
                    request.Labels.Add(pair[0], pair[1]);
                    break;
            }
        }

        return request;
    }

    /// <summary>"db app=db on a", "db app=db on a in other": an instance with a label, on a node, in a project.</summary>
    private static (CreateInstanceRequest Request, string Node) Neighbour(string text)
    {
        var match = Stay().Match(text);
        var request = new CreateInstanceRequest
        {
            Name = match.Groups["name"].Value,
            Project = match.Groups["project"].Value,
            Labels = { [match.Groups["key"].Value] = match.Groups["value"].Value },
            RequestId = $"there-{match.Groups["name"].Value}",
            Spec = new()
            {
                Type = InstanceType.Container,
                Image = "busybox",
                Resources = new() { CpuMillicores = 100, MemoryBytes = 64 << 20 },
                Constraints = new() { PreferredNode = match.Groups["node"].Value },
            },
        };
        return match.Success ? (request, match.Groups["node"].Value) : throw new FormatException($"'{text}' is not NAME KEY=VALUE on NODE [in PROJECT].");
    }

    [GeneratedRegex(@"<!-- example: (?<says>.*?) -->\n```(?<language>[a-z]+)\n(?<text>.*?)```\n", RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex("^```", RegexOptions.Multiline)]
    private static partial Regex AnyFence();

    [GeneratedRegex(@"^(?:\$ )?hypervisor-ctl (.*)$")]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"(?:'[^']*'|[^\s'])+")]
    private static partial Regex Word();

    [GeneratedRegex(@"^(?<name>\S+) (?<key>[^=\s]+)=(?<value>\S+) on (?<node>\S+)(?: in (?<project>\S+))?$")]
    private static partial Regex Stay();
}
