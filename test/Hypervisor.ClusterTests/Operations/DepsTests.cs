using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Operations;

/// <summary>
/// Protects the host that <c>make deps</c> installs packages on: nothing starts, nothing stays enabled, what was there stays as it was,
/// and what is done is said. Debian's tools are a stub (<c>debian-stub.sh</c>); the script is the real one.
/// </summary>
public sealed class DepsTests : IDisposable
{
    private const string Policy = "policy-rc.d";

    // What `deps.sh run` wants and the stub's Debian has not got.
    private const string Missing = "containerd nftables";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("deps-");

    public DepsTests()
    {
        foreach (var folder in (string[])["tools", "sbin", "units", "stub/installed", "stub/available"])
        {
            _folder.CreateSubdirectory(folder);
        }

        foreach (var tool in (string[])["apt-get", "apt-cache", "dpkg", "dpkg-query", "deb-systemd-helper"])
        {
            File.CreateSymbolicLink(
                $"{_folder}/tools/{tool}", $"{LocalCluster.Repository}/test/Hypervisor.ClusterTests/Operations/debian-stub.sh");
        }

        foreach (var package in Wanted("run"))
        {
            Stub($"available/{package}", package is "containerd" or "nftables" ? $"{package}.service\n" : "");
            if (!Missing.Contains(package, StringComparison.Ordinal))
            {
                Stub($"installed/{package}");
            }
        }
    }

    private string PolicyPath => $"{_folder}/sbin/{Policy}";

    private string[] Calls => [.. Lines("calls").Where(call => call.StartsWith("apt-get", StringComparison.Ordinal))];

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Only_what_is_missing_is_installed_without_a_question_and_said()
    {
        var (exitCode, output) = await DepsAsync();

        Assert.True(exitCode == 0, output);
        Assert.Contains($"Missing Debian packages: {Missing}\n", output, StringComparison.Ordinal);
        Assert.Contains("Installed containerd 1.0", output, StringComparison.Ordinal);
        Assert.Contains("Installed nftables 1.0", output, StringComparison.Ordinal);
        Assert.DoesNotContain("Installed runc", output, StringComparison.Ordinal);
        var call = Assert.Single(Calls);
        Assert.EndsWith($" {Missing}", call, StringComparison.Ordinal);
        Assert.Contains(" -y ", call, StringComparison.Ordinal);
        Assert.Contains(" --no-install-recommends ", call, StringComparison.Ordinal);
        Assert.Contains("--force-confold", call, StringComparison.Ordinal);
        Assert.Equal(["noninteractive"], Lines("frontends"));
    }

    [Fact]
    public async Task Services_may_not_start_during_the_install_and_their_units_are_left_disabled()
    {
        var foreign = $"{_folder}/units/foreign.service";
        File.CreateSymbolicLink(foreign, "/lib/systemd/system/foreign.service");

        var (exitCode, output) = await DepsAsync();

        Assert.True(exitCode == 0, output);
        Assert.Equal(["containerd.service 101", "nftables.service 101"], Lines("starts"));
        Assert.Contains("containerd.service is left disabled and stopped", output, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles($"{_folder}/units/multi-user.target.wants"));
        Assert.NotNull(new FileInfo(foreign).LinkTarget);
        Assert.Empty(Directory.GetFileSystemEntries($"{_folder}/sbin"));
    }

    [Fact]
    public async Task The_units_of_systemd_itself_are_left_as_they_come()
    {
        foreach (var package in Wanted("test").Where(package => package != "systemd"))
        {
            Stub($"installed/{package}");
        }

        Stub("available/systemd", "systemd-pstore.service\n");

        var (exitCode, output) = await DepsAsync("test");

        Assert.True(exitCode == 0, output);
        Assert.Contains("Installed systemd 1.0", output, StringComparison.Ordinal);
        Assert.Single(Directory.GetFiles($"{_folder}/units/multi-user.target.wants"));
    }

    [Fact]
    public async Task Nothing_missing_means_nothing_done()
    {
        Stub("installed/containerd");
        Stub("installed/nftables");

        Assert.Equal((0, ""), await DepsAsync());

        Assert.Empty(Calls);
        Assert.Empty(Directory.GetFileSystemEntries($"{_folder}/sbin"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_hosts_own_policy_is_put_back_whether_or_not_the_install_succeeds(bool broken)
    {
        await WritePolicyAsync("#!/bin/sh\n# the host's\nexit 0\n");
        File.SetUnixFileMode(PolicyPath, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        if (broken)
        {
            Stub("broken");
        }

        var (exitCode, output) = await DepsAsync();

        Assert.Equal(broken, exitCode != 0);
        Assert.Equal(broken, output.Contains("a stub's failure", StringComparison.Ordinal));
        Assert.Contains("the host's", await ReadPolicyAsync(), StringComparison.Ordinal);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserExecute, File.GetUnixFileMode(PolicyPath));
        Assert.Equal([PolicyPath], Directory.GetFileSystemEntries($"{_folder}/sbin"));
    }

    [Fact]
    public async Task A_call_after_one_that_was_killed_puts_the_hosts_policy_back()
    {
        await WritePolicyAsync("# the host's");
        Stub("killed");
        Assert.NotEqual(0, (await DepsAsync()).ExitCode);
        Assert.DoesNotContain("the host's", await ReadPolicyAsync(), StringComparison.Ordinal);
        File.Delete($"{_folder}/stub/killed");

        var (exitCode, output) = await DepsAsync();

        Assert.True(exitCode == 0, output);
        Assert.Equal("# the host's", await ReadPolicyAsync());
        Assert.Equal([PolicyPath], Directory.GetFileSystemEntries($"{_folder}/sbin"));
    }

    [Fact]
    public async Task Package_lists_that_are_too_old_are_updated_once()
    {
        Stub("stale");

        var (exitCode, output) = await DepsAsync();

        Assert.True(exitCode == 0, output);
        Assert.Contains("Updating the package lists", output, StringComparison.Ordinal);
        Assert.Equal(3, Calls.Length);
        Assert.EndsWith(" update", Calls[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_unit_that_cannot_be_disabled_is_an_error_that_names_it()
    {
        Stub("stubborn");

        var (exitCode, output) = await DepsAsync();

        Assert.NotEqual(0, exitCode);
        Assert.Contains("containerd.service could not be disabled", output, StringComparison.Ordinal);
    }

    /// <summary>What the script installs for a purpose.</summary>
    private static string[] Wanted(string purpose)
    {
        var line = File.ReadLines($"{LocalCluster.Repository}/scripts/deps.sh").Single(line => line.StartsWith($"  [{purpose}]=\"", StringComparison.Ordinal));
        return line[(line.IndexOf('"', StringComparison.Ordinal) + 1)..^1].Split(' ');
    }

    /// <summary>In a mount namespace in which the two folders of the host that the script writes to are ours.</summary>
    private async Task<(int ExitCode, string Output)> DepsAsync(string purpose = "run")
    {
        const string Enter = """
            mount --bind "$0/sbin" /usr/sbin
            mount --bind "$0/units" /etc/systemd/system
            exec "$1/scripts/deps.sh" "$2"
            """;
        var environment = new Dictionary<string, string>
        {
            ["STUB"] = $"{_folder}/stub",
            ["PATH"] = $"{_folder}/tools:{Environment.GetEnvironmentVariable("PATH")}",
        };
        var (exitCode, output, error) = await Shell.TryRunAsync(
            "unshare",
            ["--mount", "--propagation", "private", "bash", "-euc", Enter, _folder.FullName, LocalCluster.Repository, purpose],
            environment: environment);
        return (exitCode, output + error);
    }

    private Task<string> ReadPolicyAsync() => File.ReadAllTextAsync(PolicyPath, TestContext.Current.CancellationToken);

    private Task WritePolicyAsync(string text) => File.WriteAllTextAsync(PolicyPath, text, TestContext.Current.CancellationToken);

    private void Stub(string file, string content = "") => File.WriteAllText($"{_folder}/stub/{file}", content);

    private string[] Lines(string file) => File.Exists($"{_folder}/stub/{file}") ? File.ReadAllLines($"{_folder}/stub/{file}") : [];
}
