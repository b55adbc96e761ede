using System.Text.RegularExpressions;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Protects whoever installs the release as README says: the archive's programs run without an SDK, with the very configuration files that README
/// has people write, and warn that nothing is encrypted.
/// </summary>
[Collection(WholeMachine.Name)]
public sealed partial class PublishTests : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("publish-").FullName;
    private PrivateMachine _machine = null!;

    public async ValueTask InitializeAsync() => _machine = await PrivateMachine.StartAsync();

    public async ValueTask DisposeAsync()
    {
        await _machine.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task The_archive_runs_as_README_says()
    {
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "make", ["--no-print-directory", "-C", LocalCluster.Repository, "publish"], TimeSpan.FromMinutes(8));
        Assert.True(exitCode == 0, output + error);
        var archive = Path.Combine(LocalCluster.Repository, output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1]);
        await _machine.RunAsync("tar", "-xf", archive, "-C", _folder, "--strip-components=1");
        foreach (var name in (string[])["configs/agent.example.yaml", "deployments/hypervisor-agent.service", "docs/operations.md", "README.md", "LICENSE"])
        {
            Assert.True(File.Exists(Path.Combine(_folder, name)), $"{name} is not in the archive");
        }

        var readme = await File.ReadAllTextAsync(Path.Combine(_folder, "README.md"), TestContext.Current.CancellationToken);
        var files = ConfigurationFile().Matches(readme);
        Assert.Equal(["server", "agent"], files.Select(match => match.Groups["program"].Value));
        foreach (Match file in files)
        {
            var program = file.Groups["program"].Value;
            var text = file.Groups["text"].Value.Replace("FIRST", "127.0.0.1", StringComparison.Ordinal);
            await _machine.RunAsync("bash", "-c", $"printf '{text}' > {_folder}/{program}.yaml");
            await StartAsync(program);
        }

        // The agent needs no runtime to be a node, and no person to become one.
        await RealTime.UntilAsync(
            "the node is ready", TimeSpan.FromSeconds(60),
            async () => (await _machine.TryRunAsync($"{_folder}/bin/hypervisor-ctl", ["node", "list", "-o", "json"])).Output.Contains("\"NODE_LIVENESS_READY\"", StringComparison.Ordinal));
        foreach (var program in (string[])["server", "agent"])
        {
            Assert.Single(
                await File.ReadAllLinesAsync(Path.Combine(_folder, $"{program}.log"), TestContext.Current.CancellationToken),
                line => line.Contains("insecure: true", StringComparison.Ordinal));
        }
    }

    /// <summary>Without PATH or DOTNET_ROOT, so that no SDK is found; what it keeps is in the test's folder.</summary>
    private async Task StartAsync(string program) => _ = await _machine.RunAsync(
        "bash",
        "-c",
        $"setsid env -i HYPERVISOR_{program.ToUpperInvariant()}_DATA_DIR={_folder}/{program} {_folder}/bin/hypervisor-{program} --config {_folder}/{program}.yaml > {_folder}/{program}.log 2>&1 < /dev/null &");

    [GeneratedRegex(@"printf '(?<text>[^']*)' > /etc/hypervisor/(?<program>server|agent)\.yaml")]
    private static partial Regex ConfigurationFile();
}
