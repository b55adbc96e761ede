using System.Globalization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Qemu;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>Protects: QEMU is started, paused, saved, restored, found by another agent and ended, and nothing of it is left.</summary>
public sealed class QemuVmmTests : IAsyncLifetime
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("hvq-");
    private readonly InstanceId _id = new("21111111-2222-4333-8444-555555555555");
    private QemuVmm _vmm = null!;
    private GuestMachine _machine = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string At(string name) => Path.Combine(_folder.FullName, name);

    public async ValueTask InitializeAsync()
    {
        foreach (var name in new[] { "tree", "run", "state" })
        {
            _folder.CreateSubdirectory(name);
        }

        await BareGuest.MakeRootAsync(At("root"), At("tree"));
        ConfigDrive.Write(
            At("config"),
            new GuestConfig { Run = 1, Uid = _id.Value, Hostname = "q", Arguments = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"] },
            new SystemRandomSource());
        var boot = new GuestBootFiles($"{LocalCluster.Binaries}/guest");
        boot.Check();
        _vmm = NewVmm();
        _machine = new GuestMachine(_id, new Epoch(1), new Assignment { Uid = _id.Value, Spec = new InstanceSpec() }, Accelerator.Tcg)
        {
            VirtualCpus = 1,
            Limits = new InstanceLimits(500, 128 << 20, 0),
            Boot = new DirectBoot(
                boot.Kernel, boot.Initramfs, KernelCommandLine.OfOurs(KernelCommandLine.OfMicrovm(await HostTimestampCounter.MeasureKiloHertzAsync(RealTime.Clock, Cancel)))),
            Disks = [new GuestDisk("root", At("root"), DiskFormat.Raw), new GuestDisk("config", At("config"), DiskFormat.Raw)],
            RunDirectory = At("run"),
            ConsoleLog = At("console"),
            OutputFiles = (At("out"), At("err")),
        };
    }

    public async ValueTask DisposeAsync()
    {
        await _vmm.RemoveAsync(_id, CancellationToken.None);
        _vmm.Dispose();
        foreach (var parent in Directory.GetDirectories("/sys/fs/cgroup").Select(controller => $"{controller}/hvt-qemu").Where(Directory.Exists))
        {
            Directory.Delete(parent);
        }

        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_machine_runs_pauses_goes_on_from_its_memory_and_is_removed()
    {
        await _vmm.StartAsync(_machine, Cancel);
        await _vmm.StartAsync(_machine, Cancel);
        await CountsPastAsync(3);
        var running = await _vmm.GetAsync(_id, Cancel);
        Assert.Equal(VmmState.Running, running!.State);
        Assert.InRange((await _vmm.MeasureAsync(_id, Cancel)).MemoryBytes, 1 << 20, 1 << 30);

        await _vmm.PauseAsync(_id, Cancel);
        Assert.Equal(VmmState.Paused, (await _vmm.GetAsync(_id, Cancel))!.State);
        var paused = Counted();
        await _vmm.SaveAsync(_id, At("memory"), Cancel);
        Assert.Equal(VmmState.Paused, (await _vmm.GetAsync(_id, Cancel))!.State);
        await _vmm.ResumeAsync(_id, Cancel);
        await CountsPastAsync(paused + 2);

        // Another agent finds it, and ends this and no other.
        _vmm.Dispose();
        _vmm = NewVmm();
        Assert.Equal((VmmState.Running, running.ProcessId), (Assert.Single(await _vmm.ListAsync(Cancel)).State, Assert.Single(await _vmm.ListAsync(Cancel)).ProcessId));
        await _vmm.KillAsync(_id, Cancel);
        await _vmm.KillAsync(_id, Cancel);
        Assert.Equal(VmmState.Stopped, (await _vmm.GetAsync(_id, Cancel))!.State);
        Assert.False(Linux.IsRunning(running.ProcessId!.Value));

        // From its memory it counts on from where that was taken.
        File.WriteAllText(At("out"), "");
        await _vmm.StartAsync(_machine with { RestoreFrom = At("memory") }, Cancel);
        await CountsPastAsync(paused);
        Assert.InRange(int.Parse(File.ReadLines(At("out")).First()), paused, paused + 2);

        await _vmm.RemoveAsync(_id, Cancel);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Null(await _vmm.GetAsync(_id, Cancel));
        Assert.Empty(Directory.EnumerateFileSystemEntries(At("run")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(At("state")));
        Assert.DoesNotContain(Directory.GetDirectories("/sys/fs/cgroup"), controller => Directory.Exists($"{controller}/hvt-qemu/{_id}"));
    }

    [Fact]
    public async Task A_disk_is_no_faster_than_it_may_be()
    {
        const string Script = "cut -d' ' -f1 /proc/uptime; dd if=/dev/zero of=/data bs=1M count=12 conv=fsync && cut -d' ' -f1 /proc/uptime; sleep 1000";
        ConfigDrive.Write(At("config"), new GuestConfig { Run = 1, Uid = _id.Value, Hostname = "q", Arguments = ["sh", "-c", Script] }, new SystemRandomSource());
        await _vmm.StartAsync(_machine with { Disks = [_machine.Disks[0] with { Rate = new IoRate(0, 4 << 20, 0, 0) }, _machine.Disks[1]] }, Cancel);
        string[] times = [];
        await RealTime.UntilAsync("it has written all of it", BareGuest.Boot, () => File.Exists(At("out")) && (times = File.ReadAllLines(At("out"))).Length == 2);

        // Three seconds by the guest's own clock, less what QEMU lets pass at once; without a rate some tenths of one.
        var took = double.Parse(times[1], CultureInfo.InvariantCulture) - double.Parse(times[0], CultureInfo.InvariantCulture);
        Assert.True(took > 2, $"12 MiB took {took} s");
    }

    [Fact]
    public async Task A_machine_that_qemu_refuses_says_why_and_leaves_nothing()
    {
        var refused = await Assert.ThrowsAsync<DriverException>(() =>
            _vmm.StartAsync(_machine with { Disks = [new GuestDisk("root", At("no-such-file"), DiskFormat.Raw)] }, Cancel));

        Assert.Equal("VmmFailed", refused.Reason);
        Assert.Contains("no-such-file", refused.Message, StringComparison.Ordinal);
        Assert.Empty(await _vmm.ListAsync(Cancel));
        Assert.Empty(Directory.EnumerateFileSystemEntries(At("run")));
    }

    private QemuVmm NewVmm()
    {
        var options = new QemuOptions { StateDirectory = At("state"), CgroupParent = "/hvt-qemu" };
        return QemuServices.Create(options, new QemuProbe(options, RealTime.Clock), RealTime.Clock);
    }

    private int Counted() => File.Exists(At("out")) && File.ReadLines(At("out")).LastOrDefault() is { Length: > 0 } last && int.TryParse(last, out var count) ? count : 0;

    private Task CountsPastAsync(int count) => RealTime.UntilAsync($"it counts past {count}", BareGuest.Boot, () => Counted() > count);
}
