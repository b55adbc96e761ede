using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>Is QEMU there. Whether guests run with it is the accelerator's to find out.</summary>
internal sealed partial class QemuProbe(QemuOptions options, TimeProvider time)
{
    private (string Program, DateTime ChangedAt, string Version)? _known;

    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        var info = new RuntimeInfo { Type = InstanceType.Microvm, Driver = "qemu" };
        if (ProgramSearch.Find(options.Program) is not { } program)
        {
            info.Message = $"there is no program {options.Program}; apt-get install qemu-system-x86, or correct qemu.binary";
            return info;
        }

        if (await VersionAsync(program, cancellationToken) is not { } version)
        {
            info.Message = $"{program} does not tell its version; install it again";
            return info;
        }

        (info.Version, info.Available) = (version, true);
        return info;
    }

    /// <summary>Null when it does not tell. Asked once for each program: starting QEMU costs some ten milliseconds.</summary>
    public async Task<string?> VersionAsync(string program, CancellationToken cancellationToken)
    {
        var changedAt = File.GetLastWriteTimeUtc(program);
        if (_known is { } known && known.Program == program && known.ChangedAt == changedAt)
        {
            return known.Version;
        }

        var version = await ReadVersionAsync(program, cancellationToken);
        _known = version is null ? null : (program, changedAt, version);
        return version;
    }

    [GeneratedRegex(@"^QEMU emulator version (?<version>[0-9]+\.[0-9]+\S*)", RegexOptions.Multiline)]
    private static partial Regex VersionLine();

    private async Task<string?> ReadVersionAsync(string program, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(QemuLimits.Version, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, ["--version"]) { RedirectStandardOutput = true });
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
