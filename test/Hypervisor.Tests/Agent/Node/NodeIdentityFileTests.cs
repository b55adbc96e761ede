using Hypervisor.Agent.Node;
using Xunit;

namespace Hypervisor.Tests.Agent.Node;

/// <summary>Protects: SecretsSilent and HostConfined, for the one file that holds a node's secret.</summary>
public sealed class NodeIdentityFileTests : IDisposable
{
    private static readonly NodeIdentity Identity = new()
    {
        NodeUid = "uid",
        Credential = "top-secret",
        Subnet = "10.64.0.0/24",
        HighestEpoch = 1L << 48,
        HighestResourceVersion = 42,
    };

    private readonly string _directory = Directory.CreateTempSubdirectory("identity").FullName;

    private string Target => Path.Combine(_directory, "agent", "node.json");

    [Fact]
    public void What_was_saved_is_loaded_and_only_its_owner_can_read_it()
    {
        var file = new NodeIdentityFile(Path.Combine(_directory, "agent"));
        Assert.Equal(new NodeIdentity(), file.Load());
        file.Save(Identity);
        file.Save(Identity with { HighestResourceVersion = 43 });

        Assert.Equal(Identity with { HighestResourceVersion = 43 }, file.Load());
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Target));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(Target)!));
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(Target)!));
    }

    [Fact]
    public void Links_in_its_place_are_neither_read_nor_written_through()
    {
        var file = new NodeIdentityFile(Path.Combine(_directory, "agent"));
        Directory.CreateDirectory(Path.GetDirectoryName(Target)!);
        var canary = Path.Combine(_directory, "canary");
        File.WriteAllText(canary, "untouched");
        File.SetUnixFileMode(canary, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.CreateSymbolicLink(Target, canary);
        File.CreateSymbolicLink(Path.Combine(Path.GetDirectoryName(Target)!, "node.json.new"), canary);

        Assert.Throws<InvalidDataException>(file.Load);
        file.Save(Identity);

        Assert.Equal("untouched", File.ReadAllText(canary));
        Assert.Null(new FileInfo(Target).LinkTarget);
        Assert.Equal(Identity, file.Load());
    }

    [Fact]
    public void A_file_that_others_can_read_is_refused_with_the_remedy()
    {
        var file = new NodeIdentityFile(Path.Combine(_directory, "agent"));
        file.Save(Identity);
        File.SetUnixFileMode(Target, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead);

        Assert.Contains("chmod 600", Assert.Throws<InvalidDataException>(file.Load).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    public void A_damaged_file_is_refused_not_replaced(string content)
    {
        var file = new NodeIdentityFile(Path.Combine(_directory, "agent"));
        file.Save(Identity);
        File.WriteAllText(Target, content);

        Assert.Contains("damaged", Assert.Throws<InvalidDataException>(file.Load).Message, StringComparison.Ordinal);
        Assert.Equal(content, File.ReadAllText(Target));
    }

    [Fact]
    public void The_secret_is_not_part_of_what_is_printed() =>
        Assert.DoesNotContain("top-secret", Identity.ToString(), StringComparison.Ordinal);

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
