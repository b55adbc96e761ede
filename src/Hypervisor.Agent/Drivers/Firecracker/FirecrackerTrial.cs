using System.Globalization;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Drivers.Firecracker;

/// <summary>The guest that tells whether Firecracker runs guests: our kernel and init without a disk, a network or a jail.</summary>
/// <param name="directory">Of this alone, and lost with a reboot; what is in it is nobody's guest.</param>
internal sealed class FirecrackerTrial(FirecrackerOptions options, GuestBootFiles boot, string directory, TimeProvider time) : IGuestTrial
{
    private static readonly InstanceId _guest = new("trial");

    private string Console => Path.Combine(directory, "console.log");

    /// <summary>Beside those of <see cref="Qemu.QemuTrial"/>, which has the boot, the kernel and /dev/kvm.</summary>
    public Task<string> InputsAsync(CancellationToken cancellationToken) => Task.FromResult(
        ProgramSearch.Find(options.Program) is { } program
            ? string.Create(CultureInfo.InvariantCulture, $"{program}:{File.GetLastWriteTimeUtc(program).Ticks}")
            : "-");

    public async Task<string?> BootAsync(Accelerator accelerator, CancellationToken cancellationToken)
    {
        if (boot.Missing is { } missing)
        {
            return missing;
        }

        if (ProgramSearch.Find(options.Program) is null)
        {
            return $"there is no program {options.Program} to try a guest with; install Firecracker, or correct firecracker.binary";
        }

        using var vmm = Vmm();
        using var deadline = new CancellationTokenSource(FirecrackerLimits.Trial, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            // An earlier trial that could not be ended in time may have left one.
            await vmm.RemoveAsync(_guest, either.Token);
            var machine = Machine(vmm, accelerator);
            Directory.CreateDirectory(machine.RunDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.Delete(Console);
            await vmm.StartAsync(machine, either.Token);
            while (!File.ReadAllText(Console).Contains(Qemu.QemuTrial.Word, StringComparison.Ordinal))
            {
                if (await vmm.GetAsync(_guest, either.Token) is not { State: VmmState.Running })
                {
                    return "firecracker ended before its guest came to user space";
                }

                await Task.Delay(GuestLimits.StatePoll, time, either.Token);
            }

            return null;
        }
        catch (DriverException error)
        {
            return error.Message;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return string.Create(CultureInfo.InvariantCulture, $"a guest did not come to user space within {FirecrackerLimits.Trial.TotalSeconds:0} s");
        }
        finally
        {
            await vmm.RemoveAsync(_guest, CancellationToken.None);
        }
    }

    /// <inheritdoc/>
    public async Task ClearAsync(CancellationToken cancellationToken)
    {
        using var vmm = Vmm();
        await vmm.RemoveAsync(_guest, cancellationToken);
    }

    private FirecrackerVmm Vmm() => FirecrackerServices.Create(
        options with { Jailer = null, StateDirectory = Path.Combine(directory, "state"), Metrics = false, TrackDirtyPages = false }, time);

    private GuestMachine Machine(FirecrackerVmm vmm, Accelerator accelerator) => new(_guest, Epoch.None, new Assignment(), accelerator)
    {
        VirtualCpus = 1,
        Limits = new InstanceLimits(0, 128L << 20, 0),
        Boot = new DirectBoot(boot.Kernel, boot.Initramfs, $"{KernelCommandLine.OfOurs(vmm.KernelArguments(null))} {Qemu.QemuTrial.Argument}"),
        Disks = [],
        RunDirectory = Path.Combine(directory, "guest"),
        ConsoleLog = Console,
    };
}
