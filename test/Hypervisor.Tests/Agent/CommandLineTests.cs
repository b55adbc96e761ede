using Hypervisor.Agent;
using Xunit;

namespace Hypervisor.Tests.Agent;

/// <summary>Protects: the few flags that units and scripts rely on.</summary>
public sealed class CommandLineTests
{
    [Fact]
    public void Flags_are_understood_and_what_is_not_a_flag_is_refused()
    {
        Assert.Equal(new CommandLine("/a.yaml", false, false, false, false), CommandLine.Parse(["--config", "/a.yaml"]));
        Assert.Equal("/a.yaml", CommandLine.Parse(["--config=/a.yaml"]).ConfigPath);
        Assert.True(CommandLine.Parse(["--version"]).ShowVersion);
        Assert.True(CommandLine.Parse(["--help"]).ShowHelp);
        Assert.True(CommandLine.Parse(["--fake-driver"]).FakeDriver);
        Assert.NotNull(CommandLine.Parse(["--config"]).Error);
        Assert.Contains("--verbose", CommandLine.Parse(["--verbose"]).Error, StringComparison.Ordinal);
    }
}
