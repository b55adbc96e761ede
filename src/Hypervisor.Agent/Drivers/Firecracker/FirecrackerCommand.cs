using System.Globalization;
using Hypervisor.Agent.Drivers.Containerd.Kernel;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>Command lines of firecracker and of its jailer, and how they are recognised again.</summary>
internal static class FirecrackerCommand
{
    /// <summary>A reason: what was asked for cannot be a Firecracker guest.</summary>
    public const string GuestInvalid = "GuestInvalid";

    public static IReadOnlyList<string> Plain(InstanceId id) => ["--id", Checked(id), "--api-sock", GuestFiles.ApiSocket];

    /// <summary>What the jailer is given; what follows "--" it passes on, and it adds --id itself.</summary>
    /// <param name="program">Absolute.</param>
    /// <param name="millicores">0 is no limit.</param>
    public static IReadOnlyList<string> Jailed(
        InstanceId id, string program, JailerOptions jailer, uint user, string cgroupParent, long millicores)
    {
        var number = user.ToString(CultureInfo.InvariantCulture);
        List<string> arguments =
        [
            "--id", Checked(id),
            "--exec-file", program,
            "--uid", number,
            "--gid", number,
            "--chroot-base-dir", jailer.ChrootBase,
            "--cgroup-version", jailer.CgroupVersion.ToString(CultureInfo.InvariantCulture),
            "--parent-cgroup", cgroupParent.Trim('/'),
        ];
        if (millicores > 0)
        {
            var (quota, period) = CpuQuota.Of(millicores);
            string[] limits = jailer.CgroupVersion == 2
                ? [string.Create(CultureInfo.InvariantCulture, $"cpu.max={quota} {period}")]
                : [string.Create(CultureInfo.InvariantCulture, $"cpu.cfs_period_us={period}"), string.Create(CultureInfo.InvariantCulture, $"cpu.cfs_quota_us={quota}")];
            arguments.AddRange(limits.SelectMany(limit => (string[])["--cgroup", limit]));
        }

        if (jailer.NetworkNamespace is { } path)
        {
            arguments.AddRange(["--netns", path]);
        }

        return [.. arguments, "--", "--api-sock", GuestFiles.ApiSocket];
    }

    /// <summary>Whether a process with this command line is of this guest: the jailer, or firecracker, in or out of a jail.</summary>
    public static bool IsOf(InstanceId id, IReadOnlyList<string> commandLine)
    {
        for (var index = 1; index + 1 < commandLine.Count; index++)
        {
            if (commandLine[index] == "--id")
            {
                return commandLine[index + 1] == id.Value && commandLine.Contains(GuestFiles.ApiSocket, StringComparer.Ordinal);
            }

            // The shell that waits to become it has the whole command line as its own.
        }

        return false;
    }

    /// <summary>Letters, digits and hyphens: what Firecracker takes, and no path.</summary>
    public static string Checked(InstanceId id) =>
        id.Value is { Length: > 0 and <= FirecrackerLimits.IdCharacters } value && value.All(character => char.IsAsciiLetterOrDigit(character) || character == '-') && value[0] != '-'
            ? value
            : throw new DriverException(
                GuestInvalid, $"uid: \"{Clean(id.Value)}\": 1 to {FirecrackerLimits.IdCharacters} letters, digits and hyphens are needed", permanent: true);

    internal static string Clean(string value) => string.Concat(value.Take(100).Select(character => char.IsControl(character) ? '?' : character));
}
