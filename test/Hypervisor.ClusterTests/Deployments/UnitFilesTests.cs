using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Deployments;

/// <summary>Protects: systemd accepts our units, and instances survive a restart of the agent.</summary>
public sealed class UnitFilesTests
{
    private static readonly string[] Units = ["hypervisor-server.service", "hypervisor-agent.service"];

    [Fact]
    public async Task Systemd_finds_nothing_wrong_with_the_units()
    {
        var (exitCode, output) = await VerifyAsync(unit => unit);

        Assert.True(exitCode == 0 && output.Length == 0, output);
    }

    [Fact]
    public async Task The_check_notices_a_wrong_setting()
    {
        var (_, output) = await VerifyAsync(unit => unit.Replace("Restart=always", "Restart=perhaps", StringComparison.Ordinal));

        Assert.Contains("perhaps", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_agent_leaves_its_instances_running_and_shares_the_hosts_mounts()
    {
        var unit = File.ReadAllLines($"{LocalCluster.Repository}/deployments/hypervisor-agent.service");

        Assert.Contains("KillMode=process", unit);
        Assert.Contains("Delegate=yes", unit);
        Assert.Contains("RuntimeDirectoryPreserve=yes", unit);
        // Each of these gives the unit a mount namespace, and containerd would not see the instances' network namespaces.
        string[] unsharing = ["ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectKernelTunables",
            "ProtectControlGroups", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "MountFlags", "ProtectProc"];
        Assert.DoesNotContain(unit, line => unsharing.Any(key => line.StartsWith(key + "=", StringComparison.Ordinal)));
    }

    private static async Task<(int ExitCode, string Output)> VerifyAsync(Func<string, string> edit)
    {
        var root = Directory.CreateTempSubdirectory("units-").FullName;
        try
        {
            var units = Directory.CreateDirectory($"{root}/usr/lib/systemd/system").FullName;
            foreach (var target in Directory.GetFiles("/usr/lib/systemd/system", "*.target"))
            {
                File.Copy(target, $"{units}/{Path.GetFileName(target)}");
            }

            Directory.CreateDirectory($"{root}/usr/bin");
            foreach (var unit in Units)
            {
                var text = await File.ReadAllTextAsync($"{LocalCluster.Repository}/deployments/{unit}");
                await File.WriteAllTextAsync($"{units}/{unit}", edit(text));
                var binary = $"{root}/usr/bin/{Path.GetFileNameWithoutExtension(unit)}";
                await File.WriteAllTextAsync(binary, "#!/bin/sh\n");
                File.SetUnixFileMode(binary, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }

            var (exitCode, output, error) = await Shell.TryRunAsync("systemd-analyze", ["verify", $"--root={root}", .. Units]);
            return (exitCode, output + error);
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }
}
