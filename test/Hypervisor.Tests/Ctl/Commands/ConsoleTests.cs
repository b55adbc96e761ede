using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: a console is shown whatever it is, and typed into only when it takes something.</summary>
public sealed class ConsoleTests
{
    [Theory]
    [InlineData(true, true, "root\n")]
    [InlineData(true, false, "root\n")]
    [InlineData(false, false, "")]
    public async Task What_it_takes_it_is_given(bool input, bool terminal, string typed)
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.Console = new() { Input = input, Terminal = terminal };
        var run = new CtlRun { Input = "root\n"u8.ToArray() };

        Assert.Equal(0, await run.RunAsync(server, "instance", "console", "web"));

        Assert.Equal(("login: ", typed), (run.Out, server.Compute.Typed));
        Assert.Equal("web", Assert.IsType<ConsoleInput>(server.Compute.Requests.Single()).Instance);
    }
}
