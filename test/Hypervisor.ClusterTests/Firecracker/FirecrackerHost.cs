using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Firecracker;

/// <summary>What guests of these tests boot, and the programs that they are run with: the stand-in, and the real one where there is one that works.</summary>
public sealed class FirecrackerHost : IAsyncLifetime
{
    private const string ConsoleScript = """
        #!/bin/busybox sh
        b=/bin/busybox
        $b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
        for module in $($b cat /modules/order); do $b insmod /modules/$module; done
        echo "READY disk=$($b head -n 1 /dev/vda) mac=$($b cat /sys/class/net/eth0/address 2> /dev/null) $($b cat /proc/cmdline)"
        for port in /dev/vport*; do
          $b [ ! -e $port ] || (exec 3<> $port; while :; do while read -r line <&3; do echo "echo $line" >&3; done; $b usleep 50000; done) &
        done
        (while read -r line; do echo "typed $line"; done < /dev/ttyS0) &
        i=0; while :; do i=$((i + 1)); echo "tick $i"; $b usleep 100000; done
        """;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hvt-fc-");

    public static string StandIn { get; } = Path.Combine(AppContext.BaseDirectory, "firecracker-stand-in");

    /// <summary>The real one is added, never taken away: a machine without it runs all there is to run.</summary>
    public static TheoryData<string> Programs { get; } = new(RealPrograms().Prepend(StandIn));

    public string Kernel => Path.Combine(_folder.FullName, "vmlinux");

    public string Initramfs => Path.Combine(_folder.FullName, "busybox");

    /// <summary>The stand-in's QEMU emulates; Firecracker has KVM only.</summary>
    internal static Accelerator AcceleratorOf(string program) => program == StandIn ? Accelerator.Tcg : Accelerator.Kvm;

    public async ValueTask InitializeAsync()
    {
        var (exitCode, output, error) = await Shell.TryRunAsync(
            $"{LocalCluster.Repository}/scripts/guest.sh", [_folder.FullName], TimeSpan.FromMinutes(3));
        Assert.True(exitCode == 0, $"scripts/guest.sh: {output}{error}");
        var root = Directory.CreateDirectory(Path.Combine(_folder.FullName, "root")).FullName;
        await Shell.RunAsync("/bin/sh", "-euc", "cd \"$1\" && cpio -id --quiet 'modules/*' < ../initramfs && mkdir bin dev proc sys && cp /bin/busybox bin", "sh", root);
        await File.WriteAllTextAsync($"{root}/init", ConsoleScript);
        File.SetUnixFileMode($"{root}/init", (UnixFileMode)0x1ED);
        await Shell.RunAsync("/bin/sh", "-euc", "cd \"$1\" && find . -mindepth 1 | cpio -o -H newc --quiet > ../busybox", "sh", root);
    }

    public ValueTask DisposeAsync()
    {
        _folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    private static IEnumerable<string> RealPrograms()
    {
        var program = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, "firecracker")).FirstOrDefault(File.Exists);
        return program is not null && KvmRunsGuests() ? [program] : [];
    }

    /// <summary>By a guest, not by the device: a machine may offer /dev/kvm and run none. One that powers off at once says yes.</summary>
    private static bool KvmRunsGuests()
    {
        // A boot sector: writes 'K' to the debug exit port and so ends QEMU with an exit code that nothing else has.
        byte[] sector = [0xB0, 0x0B, 0xE6, 0xF4, 0xF4];
        var file = Path.GetTempFileName();
        try
        {
            var disk = new byte[512];
            sector.CopyTo(disk, 0);
            (disk[510], disk[511]) = (0x55, 0xAA);
            File.WriteAllBytes(file, disk);
            var run = Shell.TryRunAsync(
                "timeout", ["10", "qemu-system-x86_64", "-accel", "kvm", "-display", "none", "-drive", $"file={file},format=raw", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
            return run.GetAwaiter().GetResult().ExitCode == (0x0B << 1 | 1);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
