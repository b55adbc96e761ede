using System.Globalization;
using System.Text;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Qemu;

/// <summary>The guest that tells whether guests run: our kernel and init in QEMU's microvm machine, without a disk or a network.</summary>
/// <remarks>
/// Where KVM does not work the guest spins for ever, so it must not outlive its trial. Its process is noted before it runs, as those of guests are, and
/// an agent that was killed meanwhile leaves the note to the next one (<see cref="ClearAsync"/>). Until then it spins for a bounded CPU time.
/// </remarks>
/// <param name="directory">Of this alone, and lost with a reboot.</param>
internal sealed class QemuTrial(QemuOptions options, QemuProbe probe, GuestBootFiles boot, string bootId, string directory, TimeProvider time) : IGuestTrial
{
    /// <summary>Said by the init to a kernel command line with <see cref="Argument"/>.</summary>
    public const string Word = "zixiao-probe-ok";

    /// <summary>Of the kernel.</summary>
    public const string Argument = "zixiao.probe";

    /// <summary>How its process is told from others; those of guests have other names.</summary>
    public const string Name = "hypervisor-trial";

    private string Console => Path.Combine(directory, "console.log");

    private string Complaints => Path.Combine(directory, "qemu.log");

    private string Note => Path.Combine(directory, "process");

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
        catch (DriverException error)
        {
            return error.Message;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return string.Create(CultureInfo.InvariantCulture, $"a guest did not come to user space within {patience.TotalSeconds:0} s");
        }
    }

    /// <inheritdoc/>
    public async Task ClearAsync(CancellationToken cancellationToken)
    {
        if (Noted() is { } process)
        {
            await GuestProcess.KillAsync(process, IsOurs, time, cancellationToken);
        }

        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static bool IsOurs(IReadOnlyList<string> commandLine) =>
        commandLine.Zip(commandLine.Skip(1)).Any(pair => pair is ("-name", Name));

    /// <summary>By prlimit(1), which becomes QEMU itself: nobody may be there to end one that spins.</summary>
    private GuestCommand Command(string program, Accelerator accelerator, TimeSpan patience, long? tsc)
    {
        var kvm = accelerator == Accelerator.Kvm;
        return new GuestCommand(
            "/usr/bin/prlimit",
            [
                string.Create(CultureInfo.InvariantCulture, $"--cpu={(patience + patience).TotalSeconds:0}"), "--core=0",
                program, "-name", Name, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "microvm",
                "-accel", kvm ? "kvm" : "tcg", "-cpu", kvm ? "host" : "max", "-m", "128",
                "-kernel", boot.Kernel, "-initrd", boot.Initramfs, "-append", $"{KernelCommandLine.OfOurs(KernelCommandLine.OfMicrovm(tsc))} {Argument}", "-serial", "stdio",
            ],
            directory,
            "/dev/null",
            Console,
            Complaints);
    }

    private async Task<string?> RunAsync(GuestCommand command, CancellationToken cancellationToken)
    {
        await ClearAsync(cancellationToken);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        try
        {
            var process = await GuestProcess.StartAsync(command, mark => WholeFile.Write(
                Note,
                Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{mark.Id} {mark.StartTicks}")),
                UnixFileMode.UserRead | UnixFileMode.UserWrite));
            while (true)
            {
                // In this order: what it says it says before it ends.
                var running = GuestProcess.IsRunning(process, IsOurs);
                if (Text(Console).Contains(Word, StringComparison.Ordinal))
                {
                    return null;
                }

                if (!running)
                {
                    return Ended();
                }

                await Task.Delay(GuestLimits.StatePoll, time, cancellationToken);
            }
        }
        finally
        {
            await ClearAsync(CancellationToken.None);
        }
    }

    private string Ended()
    {
        var words = Text(Complaints).Trim();
        return words.Length == 0 ? "QEMU ended before its guest came to user space"
            : $"QEMU ended: {new string([.. words.TakeLast(QemuLimits.LastWords).Select(character => char.IsControl(character) ? ' ' : character)])}";
    }

    /// <summary>Null when there is no process, or none that was noted.</summary>
    private ProcessMark? Noted() =>
        Text(Note).Split(' ') is [var id, var ticks]
        && int.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        && long.TryParse(ticks, NumberStyles.None, CultureInfo.InvariantCulture, out var start)
            ? new ProcessMark(number, start)
            : null;

    private static string Text(string path)
    {
        if (!File.Exists(path))
        {
            return "";
        }

        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        var content = new byte[QemuLimits.TrialBytes];
        return Encoding.Latin1.GetString(content, 0, file.ReadAtLeast(content, content.Length, throwOnEndOfStream: false));
    }

    private static string Stamp(string path)
    {
        var file = new FileInfo(path);
        return file.Exists ? string.Create(CultureInfo.InvariantCulture, $"{file.Length}:{file.LastWriteTimeUtc.Ticks}") : "-";
    }
}
