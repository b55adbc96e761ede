using Google.Protobuf.WellKnownTypes;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// A cluster with libvirt for the tests that leave it as they found it: the busybox image, and "empty", a disk without a boot loader. What guests
/// of OCI images boot is the cluster's own, so that a test can break it.
/// </summary>
public sealed class GuestCluster : IAsyncLifetime
{
    public const string Name = "Guest cluster";

    private readonly DirectoryInfo _boot = Directory.CreateTempSubdirectory("guest-boot-");

    internal LocalCluster Cluster { get; private set; } = null!;

    internal string Initramfs => Path.Combine(_boot.FullName, "initramfs");

    private static string ShippedInitramfs => $"{LocalCluster.Binaries}/guest/initramfs";

    public async ValueTask InitializeAsync()
    {
        foreach (var kernel in new[] { "vmlinux", "vmlinuz" })
        {
            File.CreateSymbolicLink(Path.Combine(_boot.FullName, kernel), $"{LocalCluster.Binaries}/guest/{kernel}");
        }

        MendBoot();
        Cluster = await LocalCluster.StartAsync(new LocalClusterOptions { Libvirt = true, AgentYaml = $"guest:\n  directory: {_boot.FullName}" });
        await Cluster.ImportBusyboxAsync();
        var disk = $"{Cluster.Folder}/empty.qcow2";
        await Shell.RunAsync("qemu-img", "create", "-q", "-f", "qcow2", disk, "8M");
        await Cluster.ImportAsync("empty", await File.ReadAllBytesAsync(disk));
        await GuestsRunAsync();
    }

    /// <summary>Everything runs, and nothing is left of an earlier test that failed.</summary>
    internal async Task<LocalCluster> BeginAsync()
    {
        MendBoot();
        foreach (var process in new[] { Cluster.Containerd, Cluster.Libvirtd!, Cluster.Server, Cluster.Agent })
        {
            if (process.IsRunning)
            {
                process.Signal(Linux.SignalContinue);
            }
            else
            {
                process.Start();
            }
        }

        await GuestsRunAsync();
        var left = await Cluster.Compute.ListInstancesAsync(new ListInstancesRequest(), deadline: LocalCluster.Deadline(10));
        foreach (var instance in left.Instances)
        {
            await Cluster.DeleteAsync(instance.Metadata.Name);
        }

        return Cluster;
    }

    /// <summary>From now on guests of OCI images have an init that does nothing.</summary>
    internal async Task BreakBootAsync()
    {
        var root = Directory.CreateDirectory($"{Cluster.Folder}/hangs");
        Directory.CreateDirectory(Path.Combine(root.FullName, "bin"));
        File.Copy("/bin/busybox", Path.Combine(root.FullName, "bin/busybox"), overwrite: true);
        await File.WriteAllTextAsync(Path.Combine(root.FullName, "init"), "#!/bin/busybox sh\necho nothing will come of this\nexec /bin/busybox sleep 86400\n");
        File.SetUnixFileMode(Path.Combine(root.FullName, "init"), UnixFileMode.UserRead | UnixFileMode.UserExecute);

        // Of the same size and age, or the node would try whether it still runs guests at all. A new file: guests that boot just now have the old one open.
        await Shell.RunAsync(
            "sh",
            "-c",
            "cd \"$0\" && find . | cpio --quiet -o -H newc | gzip > \"$1.new\" && truncate -s \"$(stat -c %s \"$1\")\" \"$1.new\" && touch -r \"$1\" \"$1.new\" && mv \"$1.new\" \"$1\"",
            root.FullName,
            Initramfs);
    }

    internal void MendBoot()
    {
        File.Delete(Initramfs);
        File.Copy(ShippedInitramfs, Initramfs);
    }

    internal static CreateInstanceRequest Request(InstanceType type, string name, params string[] command) => new()
    {
        Name = name,
        Spec = new InstanceSpec
        {
            Type = type,
            Image = "busybox",
            Resources = new Resources { CpuMillicores = 500, MemoryBytes = 128 << 20 },
            Process = new ProcessSpec { Command = { command } },
            Stop = new StopSpec { GracePeriod = Duration.FromTimeSpan(TimeSpan.FromSeconds(2)) },
        },
    };

    /// <summary>A VM whose firmware finds nothing to boot: it runs, hears no power button and has a display.</summary>
    internal static CreateInstanceRequest EmptyDisk(string name)
    {
        var request = Request(InstanceType.Vm, name);
        (request.Spec.Image, request.Spec.Process) = ("empty", null);
        return request;
    }

    /// <summary>Deletes it; then the machine holds nothing of any guest.</summary>
    internal async Task DeleteLastAsync(params string[] names)
    {
        foreach (var name in names)
        {
            await Cluster.DeleteAsync(name);
        }

        await Cluster.LeavesAsync([], string.Join(" and ", names));
    }

    /// <summary>Null when it does not answer.</summary>
    internal Task<(int Code, string Output)?> ExecAsync(string name, params string[] command) => Cluster.ExecAsync(name, command);

    internal Task AnswersAsync(string name) =>
        RealTime.UntilAsync($"{name} answers exec", TimeSpan.FromSeconds(90), async () => await ExecAsync(name, "hostname") is (0, { } output) && output == name + "\n");

    public async ValueTask DisposeAsync()
    {
        await (Cluster?.DisposeAsync() ?? ValueTask.CompletedTask);
        _boot.Delete(recursive: true);
    }

    private Task GuestsRunAsync() => RealTime.UntilAsync("the node runs microVMs and VMs", LocalCluster.GuestTrials, async () =>
        (await Cluster.Nodes.ListNodesAsync(new ListNodesRequest(), deadline: LocalCluster.Deadline(5))).Nodes.Any(node =>
            node.Status.Liveness == NodeLiveness.Ready
            && node.Status.Inventory.Runtimes.Count(runtime => runtime is { Type: InstanceType.Microvm or InstanceType.Vm, Available: true }) == 2));
}

[CollectionDefinition(GuestCluster.Name)]
public sealed class GuestClusterTests : ICollectionFixture<GuestCluster>;
