using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Protects what <c>make test</c> promises: a last line with the sums of the runners' reports, and success only when every assembly ran
/// tests, all of them, and none failed. The assemblies are stubs (<c>assembly-stub.sh</c>); the script is the real one.
/// </summary>
public sealed class TestScriptTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("test-script-");

    public TestScriptTests()
    {
        foreach (var script in (string[])["test.sh", "lib.sh", "as-caller.sh"])
        {
            _folder.CreateSubdirectory("scripts");
            File.Copy($"{LocalCluster.Repository}/scripts/{script}", $"{_folder}/scripts/{script}");
        }

        _folder.CreateSubdirectory("tools");
        Program("tools/dotnet", "#!/bin/sh\nexit 0\n");
    }

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task The_last_line_is_the_sum_of_all_reports()
    {
        Assembly("Hypervisor.Tests", passed: 40);
        Assembly("Hypervisor.Simulation", passed: 2);

        Assert.Equal((0, "42 passed, 0 failed, 0 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task Without_arguments_what_runs_on_either_store_runs_and_counts_on_both()
    {
        Assembly("Hypervisor.ClusterTests", passed: 3);

        Assert.Equal((0, "6 passed, 0 failed, 0 skipped"), await TestAsync());
    }

    [Fact]
    public async Task A_failed_test_fails_the_run_and_is_named_again_at_the_end()
    {
        Assembly("Hypervisor.Tests", passed: 1, failed: 1, code: 2, output: "    A.test.of.something [FAIL]\n      expected 1, got 2\n");
        Assembly("Hypervisor.UnitTests", passed: 1);

        var (exitCode, output) = await RunAsync("-class", "Any");

        Assert.Equal(1, exitCode);
        Assert.EndsWith("A.test.of.something [FAIL]\n      expected 1, got 2\n\n2 passed, 1 failed, 0 skipped\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_skipped_test_fails_the_run()
    {
        Assembly("Hypervisor.Tests", passed: 2, skipped: 1);

        Assert.Equal((1, "2 passed, 0 failed, 1 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task An_assembly_with_zero_tests_fails_the_run()
    {
        Assembly("Hypervisor.Empty", passed: 0);
        Assembly("Hypervisor.Tests", passed: 2);

        Assert.Equal((1, "2 passed, 1 failed, 0 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task An_assembly_that_leaves_no_report_fails_the_run()
    {
        Assembly("Hypervisor.Crash", passed: null, code: 134);
        Assembly("Hypervisor.Tests", passed: 2);

        Assert.Equal((1, "2 passed, 1 failed, 0 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task A_fixture_that_crashes_outside_of_any_test_counts_as_a_failure()
    {
        Assembly("Hypervisor.Tests", passed: 2, code: 3);

        Assert.Equal((1, "2 passed, 1 failed, 0 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task A_project_whose_tests_nobody_would_run_fails_the_run()
    {
        Assembly("Hypervisor.Tests", passed: 2);
        _folder.CreateSubdirectory("test/Hypervisor.Forgotten");
        await File.WriteAllTextAsync(
            $"{_folder}/test/Hypervisor.Forgotten/Hypervisor.Forgotten.csproj", "<PackageReference Include=\"xunit.v3\" />", TestContext.Current.CancellationToken);

        Assert.Equal((1, "2 passed, 1 failed, 0 skipped"), await TestAsync("-class", "Any"));
    }

    [Fact]
    public async Task A_build_that_fails_is_the_end()
    {
        Assembly("Hypervisor.Tests", passed: 2);
        Program("tools/dotnet", "#!/bin/sh\nexit 1\n");

        Assert.Equal((1, "error: the build failed"), await TestAsync("-class", "Any"));
    }

    private async Task<(int ExitCode, string LastLine)> TestAsync(params string[] arguments)
    {
        var (exitCode, output) = await RunAsync(arguments);
        return (exitCode, output.TrimEnd('\n').Split('\n')[^1]);
    }

    private async Task<(int ExitCode, string Output)> RunAsync(params string[] arguments)
    {
        var environment = new Dictionary<string, string>
        {
            ["PATH"] = $"{_folder}/tools:{Environment.GetEnvironmentVariable("PATH")}",
            ["STORE"] = "embedded",
        };
        var (exitCode, output, error) = await Shell.TryRunAsync($"{_folder}/scripts/test.sh", arguments, environment: environment);
        return (exitCode, output + error);
    }

    private void Assembly(string name, int? passed, int failed = 0, int skipped = 0, int code = 0, string output = "")
    {
        var built = _folder.CreateSubdirectory($"test/{name}/bin/Debug/net10.0").FullName;
        File.WriteAllText($"{_folder}/test/{name}/{name}.csproj", "<IsTestProject>true</IsTestProject>");
        File.CreateSymbolicLink($"{built}/{name}", $"{LocalCluster.Repository}/test/Hypervisor.ClusterTests/Operations/assembly-stub.sh");
        File.WriteAllText($"{built}/code", $"{code}\n");
        File.WriteAllText($"{built}/output", output);
        if (passed is { } count)
        {
            var total = count + failed + skipped;
            File.WriteAllText(
                $"{built}/counters",
                $"<Counters total=\"{total}\" executed=\"{count + failed}\" passed=\"{count}\" failed=\"{failed}\" error=\"0\" notExecuted=\"{skipped}\" />");
        }
    }

    private void Program(string path, string text)
    {
        File.WriteAllText($"{_folder}/{path}", text);
        File.SetUnixFileMode($"{_folder}/{path}", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}
