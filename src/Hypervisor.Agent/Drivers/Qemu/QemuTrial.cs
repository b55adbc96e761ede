using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>The guest that tells whether guests run: our kernel and init in QEMU's microvm machine, without a disk or a network.</summary>
internal sealed class QemuTrial(QemuOptions options, QemuProbe probe, GuestBootFiles boot, string bootId, TimeProvider time) : IGuestTrial
{
    /// <summary>Said by the init to a kernel command line with <see cref="Argument"/>.</summary>
    public const string Word = "zixiao-probe-ok";

    /// <summary>Of the kernel.</summary>
    public const string Argument = "zixiao.probe";

    public async Task<string> InputsAsync(CancellationToken cancellationToken)
    {
        var version = ProgramSearch.Find(options.Program) is { } program ? await probe.VersionAsync(program, cancellationToken) : null;
        return string.Join(' ', bootId, version ?? "-", Stamp(boot.Kernel), Stamp(boot.Initramfs), File.Exists("/dev/kvm") ? "kvm" : "-");
    }

    public async Task<string?> BootAsync(Accelerator accelerator, CancellationToken cancellationToken)
    {
        if (boot.Missing is { } missing)
        {
            return missing;
        }

        if (ProgramSearch.Find(options.Program) is not { } program)
        {
            return $"there is no program {options.Program} to try a guest with; apt-get install qemu-system-x86";
        }

        if (accelerator == Accelerator.Kvm && !File.Exists("/dev/kvm"))
        {
            return "there is no /dev/kvm";
        }

        var patience = accelerator == Accelerator.Kvm ? QemuLimits.KvmTrial : QemuLimits.TcgTrial;
        var tsc = accelerator == Accelerator.Kvm ? null : await HostTimestampCounter.MeasureKiloHertzAsync(time, cancellationToken);
        using var deadline = new CancellationTokenSource(patience, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            return await RunAsync(Command(program, accelerator, patience, tsc), linked.Token);
        }
        catch (Win32Exception error)
        {
            return $"{program} cannot be started: {error.Message}";
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return string.Create(CultureInfo.InvariantCulture, $"a guest did not come to user space within {patience.TotalSeconds:0} s");
        }
    }

    /// <summary>By timeout(1): a guest that spins would go on for ever if the agent were killed meanwhile.</summary>
    private ProcessStartInfo Command(string program, Accelerator accelerator, TimeSpan patience, long? tsc)
    {
        var kvm = accelerator == Accelerator.Kvm;
        return new ProcessStartInfo("/usr/bin/timeout",
        [
            "--signal=KILL", string.Create(CultureInfo.InvariantCulture, $"{(patience + patience).TotalSeconds:0}"),
            program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "microvm",
            "-accel", kvm ? "kvm" : "tcg", "-cpu", kvm ? "host" : "max", "-m", "128",
            "-kernel", boot.Kernel, "-initrd", boot.Initramfs, "-append", $"{KernelCommandLine.OfOurs(KernelCommandLine.OfMicrovm(tsc))} {Argument}", "-serial", "stdio",
        ])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
    }

    private static async Task<string?> RunAsync(ProcessStartInfo start, CancellationToken cancellationToken)
    {
        using var process = Process.Start(start) ?? throw new Win32Exception();
        var complaints = process.StandardError.ReadToEndAsync(CancellationToken.None);
        try
        {
            for (var count = 0; count < QemuLimits.TrialLines && await process.StandardOutput.ReadLineAsync(cancellationToken) is { } line; count++)
            {
                if (line.Contains(Word, StringComparison.Ordinal))
                {
                    return null;
                }
            }
        }
        finally
        {
            // The whole of it: timeout(1) does not pass a SIGKILL on.
            process.Kill(entireProcessTree: true);
        }

        var words = (await complaints.WaitAsync(cancellationToken)).Trim();
        return words.Length == 0 ? "QEMU ended before its guest came to user space"
            : $"QEMU ended: {new string([.. words.TakeLast(QemuLimits.LastWords).Select(character => char.IsControl(character) ? ' ' : character)])}";
    }

    private static string Stamp(string path)
    {
        var file = new FileInfo(path);
        return file.Exists ? string.Create(CultureInfo.InvariantCulture, $"{file.Length}:{file.LastWriteTimeUtc.Ticks}") : "-";
    }
}
