using System.Text.RegularExpressions;
using Xunit;

namespace Hypervisor.Tests.Docs;

/// <summary>Protects: documents name files that exist. A path that moved without its document fails here.</summary>
public sealed partial class DocumentedPathsTests
{
    internal static readonly string Root = FindRoot();

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

    // Relative links.
    [GeneratedRegex(@"\]\((?!https?:|#)([^)#\s]+)")]
    private static partial Regex Link();

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
