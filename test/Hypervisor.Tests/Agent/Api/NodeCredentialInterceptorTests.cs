using Hypervisor.Agent.Api;
using Xunit;

namespace Hypervisor.Tests.Agent.Api;

/// <summary>Protects: only the control plane that a node registered with can ask anything of its agent.</summary>
public sealed class NodeCredentialInterceptorTests
{
    [Theory]
    [InlineData("Bearer secret", "secret", true)]
    [InlineData("bearer secret", "secret", true)]
    [InlineData("Bearer Secret", "secret", false)]
    [InlineData("Bearer secret2", "secret", false)]
    [InlineData("Bearer ", "secret", false)]
    [InlineData("secret", "secret", false)]
    [InlineData("Basic secret", "secret", false)]
    [InlineData(null, "secret", false)]
    [InlineData("Bearer ", "", false)]
    public void The_secret_is_asked_for_in_full(string? header, string credential, bool trusted) =>
        Assert.Equal(trusted, NodeCredentialInterceptor.IsTrusted(header, credential));
}
