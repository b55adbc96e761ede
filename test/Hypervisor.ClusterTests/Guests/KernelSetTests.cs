using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>Protects: a kernel, an initramfs and a root file system of the user's own boot together, as a microVM and as a VM, and their console is one.</summary>
[Collection(GuestCluster.Name)]
public sealed partial class KernelSetTests(GuestCluster guests)
{
    private const string Image = "own-kernel";

    private const string Init = """
        #!/bin/busybox sh
        b=/bin/busybox
        $b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
        for module in $($b cat /modules/order); do $b insmod /modules/$module; done
        $b mount -t ext4 $($b tr ' ' '\n' < /proc/cmdline | $b sed -n s/^root=//p) /root
        echo "found $($b cat /root/word)"
        while read -r line; do echo "typed $line"; $b grep MemAvailable /proc/meminfo; done < /dev/ttyS0
        """;

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task It_boots_finds_its_root_and_has_a_console_for_several_readers(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        await ImportAsync(cluster);
        var request = GuestCluster.Request(type, "own");
        (request.Spec.Image, request.Spec.Process) = (Image, null);
        await cluster.CreateAsync(request);
        await cluster.RunningAsync("own", seconds: 60);

        // Whoever comes later is shown what was written before; what one of them types all of them see.
        using var writer = cluster.Compute.AttachConsole(deadline: LocalCluster.Deadline(120));
        await writer.RequestStream.WriteAsync(new ConsoleInput { Instance = "own" });
        await ShowsAsync(writer, "found it");
        using var reader = cluster.Compute.AttachConsole(deadline: LocalCluster.Deadline(120));
        await reader.RequestStream.WriteAsync(new ConsoleInput { Instance = "own" });
        await ShowsAsync(reader, "found it");
        await writer.RequestStream.WriteAsync(new ConsoleInput { Data = Google.Protobuf.ByteString.CopyFromUtf8("hello\n") });
        await ShowsAsync(writer, "typed hello");
        var shown = await ShowsAsync(reader, " kB");
        Assert.Contains("typed hello", shown, StringComparison.Ordinal);

        // How much memory it uses it tells itself, without an init of ours; its VMM's process takes more than the whole machine has.
        var left = long.Parse(MemAvailable().Match(shown).Groups[1].ValueSpan, CultureInfo.InvariantCulture) << 10;
        InstanceStats? stats = null;
        await RealTime.UntilAsync("it tells how much memory it uses", TimeSpan.FromSeconds(60), async () =>
        {
            stats = await cluster.Compute.GetInstanceStatsAsync(new GetInstanceStatsRequest { Instance = "own" }, deadline: LocalCluster.Deadline(10));
            return Math.Abs(stats.MemoryLimitBytes - left - stats.MemoryBytes) < 4 << 20;
        });
        Assert.Equal(128 << 20, stats!.MemoryLimitBytes);
        await guests.DeleteLastAsync("own");
    }

    [GeneratedRegex("MemAvailable: *([0-9]+) kB")]
    private static partial Regex MemAvailable();

    private static async Task<string> ShowsAsync(Grpc.Core.AsyncDuplexStreamingCall<ConsoleInput, ConsoleOutput> console, string text)
    {
        var shown = new StringBuilder();
        while (!shown.ToString().Contains(text, StringComparison.Ordinal))
        {
            Assert.True(await console.ResponseStream.MoveNext(TestContext.Current.CancellationToken), $"the console ended without \"{text}\": {shown}");
            shown.Append(Encoding.Latin1.GetString(console.ResponseStream.Current.Data.Span));
        }

        return shown.ToString();
    }

    private static async Task ImportAsync(LocalCluster cluster)
    {
        var folder = Directory.CreateDirectory($"{cluster.Folder}/{Image}").FullName;
        await File.WriteAllTextAsync($"{folder}/init", Init);
        const string Script = """
            cd "$0"; rm -rf tree files; mkdir tree files
            (cd tree && cpio -id --quiet 'modules/*' < "$1/initramfs" && mkdir bin dev proc sys root && cp /bin/busybox bin && cp ../init init && chmod 755 init \
              && find . -mindepth 1 | cpio -o -H newc --quiet > ../initramfs)
            echo it > files/word
            rm -f root.ext4 && mke2fs -q -t ext4 -d files root.ext4 8M
            """;
        await Shell.RunAsync("bash", "-euc", Script, folder, $"{LocalCluster.Binaries}/guest");
        await new CommandLine(cluster).RunAsync(
            "image", "import", "--name", Image, "--kernel", $"{LocalCluster.Binaries}/guest/vmlinux", "--initramfs", $"{folder}/initramfs", "--rootfs", $"{folder}/root.ext4");
    }
}
