using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>Are firecracker and, where guests are jailed, its jailer there. Whether KVM works is the node's to find out.</summary>
internal sealed partial class FirecrackerProbe(FirecrackerOptions options, TimeProvider time)
{
    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        var info = new RuntimeInfo { Type = InstanceType.Microvm, Driver = "firecracker" };
        if (ProgramSearch.Find(options.Program) is not { } program)
        {
            info.Message = $"there is no program {options.Program}; install Firecracker, or correct firecracker.binary";
            return info;
        }

        if (options.Jailer is { } jailer && ProgramSearch.Find(jailer.Program) is null)
        {
            info.Message = $"there is no program {jailer.Program}; install Firecracker's jailer, or turn it off";
            return info;
        }

        if (await ReadVersionAsync(program, cancellationToken) is not { } version)
        {
            info.Message = $"{program} does not tell its version; install it again";
            return info;
        }

        (info.Version, info.Available) = (version, true);
        if (options.Jailer is null)
        {
            info.Warnings.Add(new RuntimeWarning
            {
                Reason = "NoJail",
                Message = "microVMs run without the jailer: one that breaks out of Firecracker has its user's rights",
            });
        }
        else if (HasLinkRace(version))
        {
            info.Warnings.Add(new RuntimeWarning
            {
                Reason = "KnownVulnerability",
                Message = $"the jailer of Firecracker {version} follows links that a guest may have made (CVE-2026-1386); install 1.13.2, 1.14.1 or later",
            });
        }

        return info;
    }

    /// <summary>CVE-2026-1386: fixed in 1.13.2 and 1.14.1.</summary>
    internal static bool HasLinkRace(string version) =>
        System.Version.TryParse(version.Split('-')[0], out var number)
        && (number < new Version(1, 13, 2) || (number >= new Version(1, 14) && number < new Version(1, 14, 1)));

    [GeneratedRegex(@"^Firecracker v(?<version>[0-9]+\.[0-9]+\.[0-9]+\S*)", RegexOptions.Multiline)]
    private static partial Regex VersionLine();

    private async Task<string?> ReadVersionAsync(string program, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(FirecrackerLimits.Version, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, ["--version"]) { RedirectStandardOutput = true, RedirectStandardError = true });
            if (process is null)
            {
                return null;
            }

            try
            {
                var text = await process.StandardOutput.ReadToEndAsync(either.Token);
                await process.WaitForExitAsync(either.Token);
                return VersionLine().Match(text) is { Success: true } match ? match.Groups["version"].Value : null;
            }
            finally
            {
                if (!process.HasExited)
                {
                    process.Kill();
                }
            }
        }
        catch (Win32Exception)
        {
            return null;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return null;
        }
    }
}
