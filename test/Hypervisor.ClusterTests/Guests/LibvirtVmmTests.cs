using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: a real libvirtd takes our domains (its own schema checks them), runs, pauses, saves, restores and removes them; one that is
/// killed or mute loses no guest and hides none; and nothing of a removed guest is left.
/// </summary>
public sealed class LibvirtVmmTests : IAsyncLifetime
{
    private readonly LibvirtHost _host = new();
    private readonly InstanceId _id = new(RandomUuid());
    private LibvirtVmm _vmm = null!;
    private GuestMachine _machine = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        await _host.StartAsync();
        foreach (var name in new[] { "tree", "run" })
        {
            Directory.CreateDirectory(_host.At(name));
        }

        await BareGuest.MakeRootAsync(_host.At("root"), _host.At("tree"));
        ConfigDrive.Write(
            _host.At("config"),
            new GuestConfig { Run = 1, Uid = _id.Value, Hostname = "q", Arguments = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"] },
            new SystemRandomSource());
        var boot = new GuestBootFiles($"{LocalCluster.Binaries}/guest");
        boot.Check();
        _vmm = _host.NewVmm();
        _machine = new GuestMachine(_id, new Epoch(1), new Assignment { Uid = _id.Value, Spec = new InstanceSpec() }, Accelerator.Tcg)
        {
            VirtualCpus = 1,
            Limits = new InstanceLimits(900, 128 << 20, 0),
            Boot = new DirectBoot(
                boot.Kernel, boot.Initramfs, KernelCommandLine.OfPc(await HostTimestampCounter.MeasureKiloHertzAsync(RealTime.Clock, Cancel))),
            Disks = [new GuestDisk("root", _host.At("root"), DiskFormat.Raw), new GuestDisk("config", _host.At("config"), DiskFormat.Raw)],
            RunDirectory = _host.At("run"),
            ConsoleLog = _host.At("console"),
            OutputFiles = (_host.At("out"), _host.At("err")),
        };
    }

    public async ValueTask DisposeAsync()
    {
        await _vmm.KillAsync(_id, CancellationToken.None);
        _vmm.Dispose();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task A_machine_runs_pauses_goes_on_from_its_memory_and_is_removed()
    {
        await _vmm.StartAsync(_machine, Cancel);
        await _vmm.StartAsync(_machine, Cancel);
        await CountsPastAsync(3);
        var running = await _vmm.GetAsync(_id, Cancel);
        Assert.Equal(VmmState.Running, running!.State);
        var stats = await _vmm.MeasureAsync(_id, Cancel);
        Assert.Equal(128 << 20, stats.MemoryLimitBytes);
        Assert.InRange(stats.MemoryBytes, 1 << 20, 1 << 30);
        Assert.InRange(stats.CpuTime.ToTimeSpan(), TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(5));

        await _vmm.PauseAsync(_id, Cancel);
        Assert.Equal(VmmState.Paused, (await _vmm.GetAsync(_id, Cancel))!.State);
        var paused = Counted();
        await _vmm.SaveAsync(_id, _host.At("memory"), Cancel);
        Assert.Equal(VmmState.Paused, (await _vmm.GetAsync(_id, Cancel))!.State);
        await _vmm.ResumeAsync(_id, Cancel);
        await CountsPastAsync(paused + 2);

        // Another agent finds it.
        _vmm.Dispose();
        _vmm = _host.NewVmm();
        Assert.Equal((VmmState.Running, running.ProcessId), (Assert.Single(await _vmm.ListAsync(Cancel)).State, Assert.Single(await _vmm.ListAsync(Cancel)).ProcessId));
        await _vmm.KillAsync(_id, Cancel);
        await _vmm.KillAsync(_id, Cancel);
        Assert.Equal(VmmState.Stopped, (await _vmm.GetAsync(_id, Cancel))!.State);
        Assert.False(Directory.Exists($"/proc/{running.ProcessId}"));

        // From its memory it counts on from where that was taken.
        File.WriteAllText(_host.At("out"), "");
        await _vmm.StartAsync(_machine with { RestoreFrom = _host.At("memory") }, Cancel);
        await CountsPastAsync(paused);
        Assert.InRange(int.Parse(File.ReadLines(_host.At("out")).First()), paused, paused + 2);

        await _vmm.RemoveAsync(_id, Cancel);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Null(await _vmm.GetAsync(_id, Cancel));
        Assert.Empty(Directory.EnumerateFiles(_host.At("data/etc/qemu"), "*.xml"));
    }

    [Fact]
    public async Task A_guest_outlives_a_libvirtd_that_is_killed_and_one_that_is_mute_hides_and_ends_nothing()
    {
        await _vmm.StartAsync(_machine, Cancel);
        var changes = _vmm.WatchAsync(Cancel).GetAsyncEnumerator(Cancel);
        var change = changes.MoveNextAsync().AsTask();
        await CountsPastAsync(3);

        _host.Daemon.Signal(Linux.SignalStop);
        var mute = await Assert.ThrowsAsync<DriverException>(() => _vmm.ListAsync(Cancel));
        Assert.Equal(GuestLimits.Unavailable, mute.Reason);
        Assert.False((await _vmm.ProbeAsync(Cancel)).Available);
        _host.Daemon.Signal(Linux.SignalContinue);
        await RealTime.UntilAsync("libvirtd answers again", TimeSpan.FromSeconds(60), async () => (await _vmm.ProbeAsync(Cancel)).Available);
        Assert.Equal(VmmState.Running, (await _vmm.GetAsync(_id, Cancel))!.State);

        await _host.Daemon.KillAsync();
        await Assert.ThrowsAsync<DriverException>(async () =>
        {
            while (await change)
            {
                change = changes.MoveNextAsync().AsTask();
            }
        });
        Assert.Equal(GuestLimits.Unavailable, (await Assert.ThrowsAsync<DriverException>(() => _vmm.GetAsync(_id, Cancel))).Reason);
        await CountsPastAsync(Counted());
        _host.Daemon.Start();
        await RealTime.UntilAsync("libvirtd answers again", TimeSpan.FromSeconds(60), async () => (await _vmm.ProbeAsync(Cancel)).Available);
        Assert.Equal(VmmState.Running, (await _vmm.GetAsync(_id, Cancel))!.State);

        // Ending a guest does not need it.
        _host.Daemon.Signal(Linux.SignalStop);
        await _vmm.KillAsync(_id, Cancel);
        Assert.False(LibvirtProcesses.All().ContainsKey(_id.Value));
        _host.Daemon.Signal(Linux.SignalContinue);
        await RealTime.UntilAsync("libvirtd notices", TimeSpan.FromSeconds(60), async () =>
        {
            try
            {
                return await _vmm.GetAsync(_id, Cancel) is { State: VmmState.Stopped };
            }
            catch (DriverException)
            {
                return false;
            }
        });
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Empty(await _vmm.ListAsync(Cancel));
    }

    [Fact]
    public async Task A_machine_that_libvirt_refuses_says_why_and_leaves_nothing()
    {
        var refused = await Assert.ThrowsAsync<DriverException>(() =>
            _vmm.StartAsync(_machine with { Disks = [new GuestDisk("root", _host.At("no-such-file"), DiskFormat.Raw)] }, Cancel));

        Assert.Equal("VmmFailed", refused.Reason);
        Assert.Contains("no-such-file", refused.Message, StringComparison.Ordinal);
        Assert.Empty(await _vmm.ListAsync(Cancel));
    }

    [Fact]
    public async Task A_firmware_boots_a_disk_of_its_own_with_a_display_and_its_variables_go_with_it()
    {
        await Shell.RunAsync("truncate", "-s", "1M", _host.At("disk"), _host.At("seed"));
        var spec = new InstanceSpec { Machine = new MachineSpec { Firmware = Firmware.Uefi, CpuModel = "qemu64" } };
        var machine = _machine with
        {
            MadeFrom = new Assignment { Uid = _id.Value, Spec = spec },
            Boot = null,
            OutputFiles = null,
            Disks = [new GuestDisk("root", _host.At("disk"), DiskFormat.Raw), new GuestDisk("seed", _host.At("seed"), DiskFormat.Raw, ReadOnly: true, CdRom: true)],
        };
        await _vmm.StartAsync(machine, Cancel);
        await RealTime.UntilAsync("the firmware speaks", BareGuest.Boot, () => File.Exists(_host.At("console")) && new FileInfo(_host.At("console")).Length > 0);
        Assert.True(File.Exists(machine.VncSocket));
        Assert.True(File.Exists(_host.At("nvram")));

        await _vmm.RemoveAsync(_id, Cancel);
        Assert.False(File.Exists(_host.At("nvram")));
    }

    private static string RandomUuid() => File.ReadAllText("/proc/sys/kernel/random/uuid").Trim();

    private int Counted() => File.Exists(_host.At("out")) && File.ReadLines(_host.At("out")).LastOrDefault() is { Length: > 0 } last && int.TryParse(last, out var count) ? count : 0;

    private Task CountsPastAsync(int count) => RealTime.UntilAsync($"it counts past {count}", BareGuest.Boot, () => Counted() > count);
}
