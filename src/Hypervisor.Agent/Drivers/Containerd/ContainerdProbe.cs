using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Containerd.Services.Introspection.V1;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Hypervisor.Agent.Drivers.Containerd.Connection;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Containerd;

/// <summary>Is containerd there, with everything a container needs, and is the runc it calls a safe one.</summary>
internal sealed partial class ContainerdProbe(ContainerdClient client, ContainerdOptions options, TimeProvider time)
{
    private string? _runc;

    public async Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken)
    {
        var info = new RuntimeInfo { Type = InstanceType.Container, Driver = "containerd" };
        if (!File.Exists(options.SocketPath))
        {
            info.Message = $"there is no {options.SocketPath}; install the package containerd and start it, or correct containerd.address";
            return info;
        }

        try
        {
            var version = await client.Version.VersionAsync(new Empty(), client.Call(ContainerdLimits.Probe, cancellationToken));
            var plugins = await client.Introspection.PluginsAsync(
                new PluginsRequest { Filters = { $"type==io.containerd.snapshotter.v1,id=={options.Snapshotter}" } },
                client.Call(ContainerdLimits.Probe, cancellationToken));
            if (plugins.Plugins is not [var snapshotter, ..] || snapshotter.InitErr is not null)
            {
                info.Message = $"containerd has no working snapshotter {options.Snapshotter}: "
                    + (plugins.Plugins is [{ InitErr: { } error }, ..] ? error.Message : "it is not built in");
                return info;
            }

            _runc ??= await ReadRuncVersionAsync(cancellationToken);
            if (_runc is null)
            {
                info.Message = "runc does not run; install the package runc";
                return info;
            }

            info.Version = $"{version.Version} (runc {_runc})";
            info.Available = true;
            info.Warnings.AddRange(Warnings(_runc));
        }
        catch (RpcException error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            info.Message = RuntimeErrors.Translate(error, options.SocketPath).Message;
        }

        return info;
    }

    private IEnumerable<RuntimeWarning> Warnings(string runc)
    {
        foreach (var warning in RuncAdvisories.For(runc))
        {
            yield return warning;
        }

        if (!File.Exists(options.SeccompProfile))
        {
            yield return new RuntimeWarning
            {
                Reason = RuntimeWarnings.NoSeccompProfile,
                Message = $"there is no seccomp profile at {options.SeccompProfile}, so only unconfined instances start; "
                    + "install the package golang-github-containers-common",
            };
        }
    }

    /// <summary>The commit is Debian's full version, revision included; upstream it is a hash and of no use here.</summary>
    private async Task<string?> ReadRuncVersionAsync(CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(ContainerdLimits.Probe, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            using var process = Process.Start(new ProcessStartInfo("runc", ["--version"]) { RedirectStandardOutput = true, RedirectStandardError = true });
            if (process is null)
            {
                return null;
            }

            try
            {
                var text = await process.StandardOutput.ReadToEndAsync(either.Token);
                await process.WaitForExitAsync(either.Token);
                var version = VersionLine().Match(text).Groups["version"].Value;
                var commit = CommitLine().Match(text).Groups["commit"].Value;
                return version.Length == 0 ? null : commit.StartsWith(version, StringComparison.Ordinal) ? commit : version;
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

    [GeneratedRegex("""^runc version (?<version>\S+)""", RegexOptions.CultureInvariant | RegexOptions.Multiline)]
    private static partial Regex VersionLine();

    [GeneratedRegex("""^commit: (?<commit>\S+)""", RegexOptions.CultureInvariant | RegexOptions.Multiline)]
    private static partial Regex CommitLine();
}
