using Hypervisor.Server;
using Xunit;

namespace Hypervisor.Tests.Server;

/// <summary>Protects: the server's few options, and exit code 2 for everything else.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("", null)]
    [InlineData("--config a.yaml", "a.yaml")]
    [InlineData("--config=a.yaml", "a.yaml")]
    public void A_file_may_be_named(string arguments, string? file)
    {
        var line = CommandLine.Parse(Split(arguments));

        Assert.Null(line.Text);
        Assert.Equal(file, line.ConfigurationFile);
    }

    [Theory]
    [InlineData("--restore b.backup", null)]
    [InlineData("--config a.yaml --restore=b.backup", "a.yaml")]
    public void A_backup_may_be_named(string arguments, string? file)
    {
        var line = CommandLine.Parse(Split(arguments));

        Assert.Null(line.Text);
        Assert.Equal((file, "b.backup"), (line.ConfigurationFile, line.RestoreFile));
    }

    [Theory]
    [InlineData("--restore", "needs a file")]
    [InlineData("--restore a --restore b", "twice")]
    [InlineData("--config", "needs a file")]
    [InlineData("--config=", "needs a file")]
    [InlineData("--config a --config b", "twice")]
    [InlineData("--verbose", "'--verbose' is not an option")]
    public void What_is_not_an_option_is_named_with_the_usage(string arguments, string expected)
    {
        var line = CommandLine.Parse(Split(arguments));

        Assert.Equal(2, line.ExitCode);
        Assert.Contains(expected, line.Text, StringComparison.Ordinal);
        Assert.Contains("Usage:", line.Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Version_and_help_are_printed() =>
        Assert.All(["--version", "--help", "-h"], option => Assert.Contains("hypervisor-server", CommandLine.Parse([option]).Text, StringComparison.Ordinal));

    private static string[] Split(string arguments) => arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
