using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Drivers.Libvirt;
using Hypervisor.Agent.Drivers.Libvirt.Interop;
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
                boot.Kernel, boot.Initramfs, KernelCommandLine.OfOurs(KernelCommandLine.OfPc(await HostTimestampCounter.MeasureKiloHertzAsync(RealTime.Clock, Cancel)))),
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
        Assert.False(Linux.IsRunning(running.ProcessId!.Value));

        // From its memory it counts on from where that was taken.
        File.WriteAllText(_host.At("out"), "");
        await _vmm.StartAsync(_machine with { RestoreFrom = _host.At("memory") }, Cancel);
        await CountsPastAsync(paused);
        Assert.InRange(int.Parse(File.ReadLines(_host.At("out")).First()), paused, paused + 2);

        await _vmm.RemoveAsync(_id, Cancel);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Null(await _vmm.GetAsync(_id, Cancel));
        Assert.Empty(_host.Kept(_id.Value));
    }

    [Fact]
    public async Task Every_agent_is_heard_at_its_first_word_also_after_the_memory_was_restored()
    {
        await _vmm.StartAsync(_machine, Cancel);
        await CountsPastAsync(3);

        // The kernel is told of a port's host apart from what that host writes, and with PCI usually later: once it knows that one went, the
        // next one's first word comes from nobody.
        for (var agent = 0; agent < 10; agent++)
        {
            await HeardAsync();
            await CountsPastAsync(Counted() + 2);
        }

        // One is there while the memory is saved, so that the kernel has two changes to hear of afterwards.
        await using (var channels = new GuestChannels(new SystemRandomSource(), RealTime.Clock))
        {
            Assert.Equal(InitState.Runs, await channels.StateAsync(_id, _machine.ChannelSocket, Cancel));
            await _vmm.PauseAsync(_id, Cancel);
            await _vmm.SaveAsync(_id, _host.At("memory"), Cancel);
        }

        for (var restore = 0; restore < 3; restore++)
        {
            await _vmm.KillAsync(_id, Cancel);
            await _vmm.StartAsync(_machine with { RestoreFrom = _host.At("memory") }, Cancel);
            await HeardAsync();
        }

        async Task HeardAsync()
        {
            await using var channels = new GuestChannels(new SystemRandomSource(), RealTime.Clock);
            await using var process = await channels.ExecAsync(_id, _machine.ChannelSocket, BareGuest.Script("echo heard"), Cancel);
            Assert.Equal("heard\n", await BareGuest.ReadAllAsync(process, LogStream.Stdout));
            Assert.Equal(0, (await process.ExitAsync(Cancel)).Code);
        }
    }

    [Fact]
    public async Task A_guest_ends_at_its_power_button_or_by_itself_and_that_is_told()
    {
        var changes = _vmm.WatchAsync(Cancel).GetAsyncEnumerator(Cancel);
        var change = changes.MoveNextAsync().AsTask();
        await _vmm.StartAsync(_machine, Cancel);
        await CountsPastAsync(0);
        await _vmm.AskToPowerOffAsync(_id, Cancel);
        await PoweredOffAsync();
        Assert.NotNull(ConfigDrive.ReadExit(_host.At("config"), 1));

        ConfigDrive.Write(_host.At("config"), new GuestConfig { Run = 2, Uid = _id.Value, Hostname = "q", Arguments = ["sh", "-c", "exit 3"] }, new SystemRandomSource());
        await _vmm.StartAsync(_machine, Cancel);
        await PoweredOffAsync();
        Assert.Equal(3, ConfigDrive.ReadExit(_host.At("config"), 2)!.Code);
        Assert.True(await change);
        Assert.Equal(_id, changes.Current);
        var gone = await Assert.ThrowsAsync<DriverException>(() => _vmm.PauseAsync(_id, Cancel));
        Assert.Equal("NotRunning", gone.Reason);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Empty(_host.Kept(_id.Value));
        await changes.DisposeAsync();
    }

    [Fact]
    public async Task Every_kind_of_machine_is_as_libvirts_schema_wants_it_and_a_domain_of_somebody_elses_is_left_alone()
    {
        using var connection = new LibvirtConnection(_host.Options, RealTime.Clock);
        var ofDisk = _machine with
        {
            Boot = null,
            OutputFiles = null,
            Disks = [.. _machine.Disks, new GuestDisk("seed", _host.At("seed"), DiskFormat.Raw, ReadOnly: true, CdRom: true) { Rate = new IoRate(1 << 20, 2 << 20, 100, 200) }],
        };
        foreach (var (machine, spec) in new (GuestMachine, MachineSpec?)[]
        {
            (_machine with { Nic = new GuestNic("hv-tap0", "02:00:0a:80:00:02", 1450) }, null),
            (ofDisk, null),
            (ofDisk, new MachineSpec { Firmware = Firmware.Uefi, CpuModel = "qemu64", Topology = new CpuTopology { Sockets = 1, Cores = 1, Threads = 1 } }),
        })
        {
            var xml = DomainXml.Render(machine with { MadeFrom = new Assignment { Uid = _id.Value, Spec = new InstanceSpec { Machine = spec } } }, _host.Options.FirmwareDirectory);
            await DefineAsync(connection, xml);
        }

        Assert.Equal(VmmState.Stopped, Assert.Single(await _vmm.ListAsync(Cancel)).State);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Empty(await _vmm.ListAsync(Cancel));

        // With our name, even, but without what says that it is ours.
        var foreign = System.Text.RegularExpressions.Regex.Replace(DomainXml.Render(_machine, _host.Options.FirmwareDirectory), "(?s)<metadata>.*</metadata>", "");
        await DefineAsync(connection, foreign);
        Assert.Empty(await _vmm.ListAsync(Cancel));
        Assert.Null(await _vmm.GetAsync(_id, Cancel));
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
    public async Task A_start_that_was_given_up_is_none_when_libvirtd_goes_on()
    {
        var start = _vmm.StartAsync(_machine, Cancel);
        await RealTime.UntilAsync("libvirtd has made a process", TimeSpan.FromSeconds(30), () => LibvirtProcesses.Of(_id) is not null);
        _host.Daemon.Signal(Linux.SignalStop);
        Assert.Equal(GuestLimits.Unavailable, (await Assert.ThrowsAsync<DriverException>(() => start)).Reason);
        _host.Daemon.Signal(Linux.SignalContinue);

        await RealTime.UntilAsync("it is seen and ended", TimeSpan.FromSeconds(60), async () => await StoppedAsync() && LibvirtProcesses.Of(_id) is null);
        await _vmm.StartAsync(_machine, Cancel);
        await CountsPastAsync(3);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.Empty(_host.Kept(_id.Value));

        async Task<bool> StoppedAsync()
        {
            try
            {
                return await _vmm.GetAsync(_id, Cancel) is null or { State: VmmState.Stopped };
            }
            catch (DriverException)
            {
                return false;
            }
        }
    }

    [Fact]
    public async Task A_machine_that_libvirt_refuses_says_why_and_leaves_nothing()
    {
        var refused = await Assert.ThrowsAsync<DriverException>(() =>
            _vmm.StartAsync(_machine with { Disks = [new GuestDisk("root", _host.At("no-such-file"), DiskFormat.Raw)] }, Cancel));

        Assert.Equal("VmmFailed", refused.Reason);
        Assert.Contains("no-such-file", refused.Message, StringComparison.Ordinal);
        Assert.Empty(await _vmm.ListAsync(Cancel));
        Assert.Empty(_host.Kept(_id.Value));
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

        // It has no ear for its power button, and no say when it is killed.
        await _vmm.AskToPowerOffAsync(_id, Cancel);
        Assert.Equal(VmmState.Running, (await _vmm.GetAsync(_id, Cancel))!.State);
        await _vmm.KillAsync(_id, Cancel);
        var killed = await _vmm.GetAsync(_id, Cancel);
        Assert.Equal((VmmState.Stopped, false), (killed!.State, killed.PoweredOff));

        // A start that is refused takes nothing of it along.
        await Assert.ThrowsAsync<DriverException>(() => _vmm.StartAsync(machine with { Disks = [new GuestDisk("root", _host.At("no-such-file"), DiskFormat.Raw)] }, Cancel));
        Assert.True(File.Exists(_host.At("nvram")));
        await _vmm.StartAsync(machine, Cancel);
        await _vmm.RemoveAsync(_id, Cancel);
        Assert.False(File.Exists(_host.At("nvram")));
    }

    private Task PoweredOffAsync() => RealTime.UntilAsync(
        "it powers itself off", BareGuest.Boot, async () => await _vmm.GetAsync(_id, Cancel) is { State: VmmState.Stopped, PoweredOff: true });

    private static async Task DefineAsync(LibvirtConnection connection, string xml) => await connection.CallAsync(
        handle =>
        {
            // VIR_DOMAIN_DEFINE_VALIDATE
            using var domain = NativeMethods.DomainDefine(handle, xml, 1);
            return domain.IsInvalid ? throw LibvirtException.OfThisThread() : 0;
        },
        BareGuest.Boot,
        Cancel);

    private static string RandomUuid() => File.ReadAllText("/proc/sys/kernel/random/uuid").Trim();

    private int Counted() => File.Exists(_host.At("out")) && File.ReadLines(_host.At("out")).LastOrDefault() is { Length: > 0 } last && int.TryParse(last, out var count) ? count : 0;

    private Task CountsPastAsync(int count) => RealTime.UntilAsync($"it counts past {count}", BareGuest.Boot, () => Counted() > count);
}
