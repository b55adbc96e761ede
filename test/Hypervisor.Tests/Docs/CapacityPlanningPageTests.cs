using System.Text.RegularExpressions;
using Hypervisor.Bench;
using Hypervisor.Bench.Replays;
using Xunit;

namespace Hypervisor.Tests.Docs;

/// <summary>Protects whoever plans by docs/capacity-planning.md: its examples can be run and print what the page shows.</summary>
public sealed partial class CapacityPlanningPageTests
{
    private static readonly string _page = File.ReadAllText(Path.Combine(DocumentedPathsTests.Root, "docs/capacity-planning.md"));

    [Fact]
    public async Task The_replay_prints_what_the_page_shows()
    {
        var example = Example().Match(_page);
        var words = example.Groups["command"].Value.Replace("configs/", $"{DocumentedPathsTests.Root}/configs/", StringComparison.Ordinal).Split(' ');
        var (output, error) = (new StringWriter(), new StringWriter());

        var code = await BenchCommand.RunAsync(words, output, error);

        Assert.Equal((0, ""), (code, error.ToString()));
        Assert.StartsWith(example.Groups["output"].Value, output.ToString());
    }

    [Fact]
    public void Its_lines_are_a_trace() =>
        Assert.Equal(2, new DemandTraceReader("page").Read(Trace().Match(_page).Groups[1].Value.Split('\n')).Events.Count);

    [Fact]
    public void Every_column_and_every_option_is_explained()
    {
        var columns = Columns().Split(Example().Match(_page).Groups["output"].Value.Split('\n')[0].Trim()).Skip(1);

        Assert.All(columns, column => Assert.Contains($"`{column}`", _page));
        Assert.All(Options(), option => Assert.Contains(option, _page));
    }

    [Theory]
    [InlineData("fleet --nodes 0", "--nodes: is out of range (0) – 1 to 100000")]
    [InlineData("fleet --for soon", "--for: is not a duration (soon) – write it as 10s, 500ms or 1h30m")]
    [InlineData("fleet --prefix A", "--prefix: is not an RFC 1123 label (A) – 1-63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit")]
    [InlineData("replay --trace t --strategy best", "--strategy: is not one of the choices")]
    [InlineData("replay --trace t --strategy spread,spread", "--strategy: repeats spread (spread,spread) – keep one of them")]
    [InlineData("replay --trace t --overcommit-cpu 17", "--overcommit-cpu: is not a factor: 17 (17) – write a number from 1 to 16, 1.5")]
    [InlineData("replay --trace /nowhere", "--trace: cannot be read (/nowhere) – check that the file exists and its permissions")]
    [InlineData("replay", "--trace")]
    public async Task A_mistake_in_the_command_is_named_with_value_and_remedy(string words, string expected)
    {
        var (output, error) = (new StringWriter(), new StringWriter());

        var code = await BenchCommand.RunAsync(words.Split(' '), output, error);

        Assert.Equal(2, code);
        Assert.Contains(expected, error.ToString());
    }

    private static IEnumerable<string> Options() =>
        from command in new[] { "fleet", "replay" }
        from option in BenchCommand.Root().Subcommands.Single(each => each.Name == command).Options
        where option.Name != "--help"
        select option.Name;

    [GeneratedRegex(@"<!-- replay -->\n```text\n\$ hypervisor-bench (?<command>[^\n]+)\n(?<output>[^`]+)```")]
    private static partial Regex Example();

    [GeneratedRegex(@"```json\n([^`]+)```")]
    private static partial Regex Trace();

    [GeneratedRegex(@" {2,}")]
    private static partial Regex Columns();
}
