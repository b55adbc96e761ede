using Hypervisor.Agent.Drivers.Qemu;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: the guest that tells what runs guests on a node ends with its trial, or with the next agent: one that spins because KVM does not work
/// would otherwise have a CPU for as long as the node is up.
/// </summary>
public sealed class TrialTests
{
    /// <summary>In place of QEMU: tells its version, and else never ends and uses no CPU time.</summary>
    private const string Qemu = """
        #!/bin/sh
        case $1 in --version) exec qemu-system-x86_64 --version ;; esac
        mkfifo "$0.$$"
        read -r never < "$0.$$"
        """;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_killed_agents_trial_is_ended_by_the_next_agent(bool stopped)
    {
        var folder = Directory.CreateTempSubdirectory("hvtrial-");
        try
        {
            var program = Path.Combine(folder.FullName, "qemu");
            await File.WriteAllTextAsync(program, Qemu + "\n", TestContext.Current.CancellationToken);
            File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            await using var cluster = await LocalCluster.StartAsync(new LocalClusterOptions { AgentYaml = $"accelerator: tcg\nqemu:\n  binary: {program}" });
            var trial = await FindAsync(program, except: null);
            if (stopped)
            {
                // Who is being ended is stopped first by some, and an agent may be killed at any moment.
                Linux.Signal(trial, Linux.SignalStop);
            }

            await cluster.Agent.KillAsync();
            Assert.True(Linux.IsRunning(trial));

            // The next agent ends it before it tries one of its own.
            cluster.Agent.Start();
            await FindAsync(program, except: trial);
            Assert.False(Linux.IsRunning(trial));
        }
        finally
        {
            foreach (var left in Trials(folder.FullName))
            {
                Linux.Signal(left, Linux.SignalKill);
            }

            folder.Delete(recursive: true);
        }
    }

    private static async Task<int> FindAsync(string program, int? except)
    {
        var found = 0;
        await RealTime.UntilAsync("a guest is tried", LocalCluster.ReadyTimeout, () =>
            (found = Trials(program).FirstOrDefault(pid => pid != except)) != 0);
        return found;
    }

    /// <summary>By a script, whose command line stays as it was asked for.</summary>
    private static IEnumerable<int> Trials(string program) => Directory.GetDirectories("/proc")
        .Select(path => int.TryParse(Path.GetFileName(path), out var pid) ? pid : 0)
        .Where(pid => pid != 0 && Linux.IsRunning(pid) && Leftovers.CommandLine(pid) is var line
            && line.Contains(program, StringComparison.Ordinal) && line.Contains($"-name {QemuTrial.Name}", StringComparison.Ordinal));
}
