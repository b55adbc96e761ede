using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Ctl.Commands;

/// <summary>Protects: which server and project a command talks to.</summary>
public sealed class ContextTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ctl-contexts-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_context_is_made_used_listed_and_deleted()
    {
        await using var server = await FakeServer.StartAsync();
        server.Compute.OnList = _ => new();

        Assert.Equal((0, "Context lab created\n"), await RunAsync("config", "set-context", "lab", "--server", server.Address, "--project", "p"));
        Assert.Equal((0, "Context far created\n"), await RunAsync("config", "set-context", "far", "--server", "far.example:1"));
        Assert.Equal((0, "lab\n"), await RunAsync("config", "current-context"));
        Assert.Equal(0, (await RunAsync("instance", "list")).ExitCode);
        Assert.Equal("p", ((ListInstancesRequest)server.Compute.Requests.Single()).Project);
        Assert.Equal((0, "Using context far (far.example:1)\n"), await RunAsync("config", "use-context", "far"));
        Assert.Equal(
            $"""
            CURRENT   NAME   SERVER            PROJECT
                      lab    {server.Address}   p
            *         far    far.example:1     -

            """.Replace(server.Address + "   p", server.Address.PadRight(Math.Max(13, server.Address.Length)) + "   p", StringComparison.Ordinal),
            (await RunAsync("config", "get-contexts")).Out);
        Assert.Equal((0, "Context far deleted\n"), await RunAsync("config", "delete-context", "far"));
        Assert.Equal(1, (await RunAsync("config", "current-context")).ExitCode);
    }

    [Fact]
    public async Task A_mistake_in_the_file_is_named_with_its_line()
    {
        File.WriteAllText(Path.Combine(_directory, "config.yaml"), "contexts:\n  - name: a\n    sever: x\n");
        var run = NewRun();

        Assert.Equal(2, await run.RunAsync(null, "instance", "list"));

        Assert.Contains("config.yaml:3: contexts.sever: is not known", run.Error, StringComparison.Ordinal);
    }

    private async Task<(int ExitCode, string Out)> RunAsync(params string[] words)
    {
        var run = NewRun();
        return (await run.RunAsync(null, words), run.Out);
    }

    private CtlRun NewRun() => new() { Variables = { ["HYPERVISOR_CONFIG"] = Path.Combine(_directory, "config.yaml") } };
}
