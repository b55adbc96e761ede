using Hypervisor.Server.Nodes;
using Xunit;

namespace Hypervisor.Tests.Server.Nodes;

/// <summary>Protects: only the issued secret opens, and nothing opens what was never issued.</summary>
public sealed class NodeCredentialsTests
{
    [Theory]
    [InlineData("secret", "secret", true)]
    [InlineData("secret", "secreT", false)]
    [InlineData("secret", "", false)]
    [InlineData("secret", null, false)]
    [InlineData("", "", false)]
    [InlineData(null, null, false)]
    [InlineData(null, "", false)]
    [InlineData(null, "secret", false)]
    public void Only_the_issued_secret_matches(string? issued, string? presented, bool expected) =>
        Assert.Equal(expected, NodeCredentials.Match(issued, presented));
}
