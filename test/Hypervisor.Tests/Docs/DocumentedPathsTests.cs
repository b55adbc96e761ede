using System.Text.RegularExpressions;
using Xunit;

namespace Hypervisor.Tests.Docs;

/// <summary>Protects: documents name files that exist. A path that moved without its document fails here.</summary>
public sealed partial class DocumentedPathsTests
{
    internal static readonly string Root = FindRoot();

    private static readonly Lazy<HashSet<string>> _names = new(FindNames);

    public static TheoryData<string> Documents()
    {
        var documents = Directory.GetFiles(Path.Combine(Root, "docs"), "*.md", SearchOption.AllDirectories)
            .Concat([Path.Combine(Root, "README.md"), Path.Combine(Root, "CHANGELOG.md")]);
        return [.. documents.Select(document => Path.GetRelativePath(Root, document)).Order(StringComparer.Ordinal)];
    }

    [Theory]
    [MemberData(nameof(Documents))]
    public void Every_path_that_a_document_names_exists(string document)
    {
        var folder = Path.GetDirectoryName(Path.Combine(Root, document))!;
        var text = File.ReadAllText(Path.Combine(Root, document));
        var missing = InlinePath().Matches(text).Select(match => (Name: match.Groups[1].Value, From: Root))
            .Concat(Link().Matches(text).Select(match => (Name: match.Groups[1].Value, From: folder)))
            .Where(path => !Path.Exists(Path.Combine(path.From, path.Name)))
            .Select(path => path.Name);

        Assert.Empty(missing);
    }

    /// <summary>Short for a path that stands near it. Configuration and data are left out: most of those are the reader's own.</summary>
    [Theory]
    [MemberData(nameof(Documents))]
    public void Every_source_file_that_a_document_names_without_its_folder_exists(string document) =>
        Assert.DoesNotContain(
            BareName().Matches(File.ReadAllText(Path.Combine(Root, document))).Select(match => match.Groups[1].Value),
            name => !_names.Value.Contains(name));

    [Theory]
    [InlineData("`RunnerDecision.cs`", true)]
    [InlineData("`instance.proto`", true)]
    [InlineData("`RunnerIndecision.cs`", false)]
    public void The_check_itself_tells_a_real_name_from_a_wrong_one(string text, bool exists) =>
        Assert.Equal(exists, _names.Value.Contains(BareName().Match(text).Groups[1].Value));

    [Theory]
    [InlineData("README.md", "`scripts/run.sh`", true)]
    [InlineData("README.md", "`scripts/gone.sh`", false)]
    public void The_check_itself_tells_a_real_path_from_a_wrong_one(string document, string text, bool exists)
    {
        Assert.True(File.Exists(Path.Combine(Root, document)));
        var name = InlinePath().Match(text).Groups[1].Value;

        Assert.Equal(exists, Path.Exists(Path.Combine(Root, name)));
    }

    // Code spans that begin with one of the tree's own folders; a '*', '{' or '…' in it makes it a pattern, not a path.
    [GeneratedRegex(@"`((?:api|bench|configs|deployments|docs|scripts|src|test|web|\.ci)/[^`*{}<>…\s]*)`")]
    private static partial Regex InlinePath();

    [GeneratedRegex(@"`([A-Za-z0-9_][A-Za-z0-9_.-]*\.(?:cs|csproj|props|slnx|proto|sh|service))`")]
    private static partial Regex BareName();

    // Relative links.
    [GeneratedRegex(@"\]\((?!https?:|#)([^)#\s]+)")]
    private static partial Regex Link();

    private static HashSet<string> FindNames()
    {
        string[] built = ["bin", "obj", "artifacts", "TestResults"];
        HashSet<string> names = new(Directory.GetFiles(Root).Select(file => Path.GetFileName(file)), StringComparer.Ordinal);
        var folders = new Queue<string>(Directory.GetDirectories(Root).Where(folder => !Path.GetFileName(folder).StartsWith('.')));
        while (folders.TryDequeue(out var folder))
        {
            if (!built.Contains(Path.GetFileName(folder)))
            {
                names.UnionWith(Directory.GetFiles(folder).Select(file => Path.GetFileName(file)));
                Array.ForEach(Directory.GetDirectories(folder), folders.Enqueue);
            }
        }

        return names;
    }

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Hypervisor.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("The tests run from inside the source tree.");
    }
}
