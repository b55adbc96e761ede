using Hypervisor.Agent.Drivers.Containerd;
using Xunit;

namespace Hypervisor.Tests.Agent.Drivers.Containerd;

/// <summary>Protects: an old runc is flagged with its CVEs and what fixed them, and nothing is claimed that the version does not tell.</summary>
public sealed class RuncAdvisoriesTests
{
    private const string Sure = "KnownVulnerability";
    private const string Perhaps = "PossibleVulnerability";

    [Theory]
    [InlineData("1.1.11", Sure, Sure)]
    [InlineData("1.1.12", null, Sure)]
    [InlineData("1.2.0-rc.1", null, Sure)]
    [InlineData("1.2.7", null, Sure)]
    [InlineData("1.2.8", null, null)]
    [InlineData("1.3.0", null, Sure)]
    [InlineData("1.3.3", null, null)]
    [InlineData("1.3.10", null, null)]
    [InlineData("1.4.0-rc.2", null, Sure)]
    [InlineData("1.4.0-rc.3", null, null)]
    [InlineData("1.4.0", null, null)]
    [InlineData("1.5.0-rc.1", null, null)]
    [InlineData("2.0.0", null, null)]
    [InlineData("1.1.5+ds1", Perhaps, Perhaps)]
    [InlineData("1.1.5+ds1-1", Sure, Perhaps)]
    [InlineData("1.1.5+ds1-1+deb12u1", null, Perhaps)]
    [InlineData("1.0.0~rc93+ds1-5+deb11u2", Sure, Perhaps)]
    [InlineData("1.0.0~rc93+ds1-5+deb11u3", null, Perhaps)]
    [InlineData("1.3.3+ds1", null, null)]
    [InlineData("unknown", null, null)]
    public void Versions_are_judged_by_line_and_package(string version, string? leakedDescriptor, string? maskedPaths)
    {
        var warnings = RuncAdvisories.For(version).ToList();

        Assert.Equal(leakedDescriptor, warnings.SingleOrDefault(warning => warning.Message.Contains("CVE-2024-21626", StringComparison.Ordinal))?.Reason);
        Assert.Equal(maskedPaths, warnings.SingleOrDefault(warning => warning.Message.Contains("CVE-2025-31133", StringComparison.Ordinal))?.Reason);
        Assert.All(warnings, warning => Assert.Contains(version, warning.Message, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("1.1.13", Sure)]
    [InlineData("1.1.14", null)]
    [InlineData("1.2.0-rc.2", Sure)]
    [InlineData("1.2.0-rc.3", null)]
    [InlineData("1.3.0", null)]
    [InlineData("1.1.5+ds1", Perhaps)]
    public void A_runc_that_can_be_led_to_make_files_on_the_node_is_named(string version, string? reason) =>
        Assert.Equal(
            reason,
            RuncAdvisories.For(version)
                .SingleOrDefault(warning => warning.Message.Contains("make empty files on the node (CVE-2024-45310", StringComparison.Ordinal))?.Reason);
}
