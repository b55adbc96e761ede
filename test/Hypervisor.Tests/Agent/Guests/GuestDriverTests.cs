using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>Protects: what VMs and microVMs share — NoOrphans, EpochMonotonic, NoGhostKill, and that no run is lost or counted twice.</summary>
public sealed class GuestDriverTests : IDisposable
{
    private static readonly StopPolicy Gently = new(0, TimeSpan.FromSeconds(10));

    private readonly GuestScene _scene = new();

    private GuestDriver Driver => _scene.Driver;

    private FakeVmm Vmm => _scene.Vmm;

    private InstanceId Id => _scene.Id;

    public void Dispose() => _scene.Dispose();

    [Fact]
    public async Task A_guest_is_made_runs_is_stopped_and_leaves_nothing()
    {
        _scene.OnSignal = signal => _scene.Exit(128 + signal, signal);
        await Driver.CreateAsync(_scene.Definition(), default);
        var created = await _scene.SeenAsync();
        await Driver.StartAsync(Id, new Epoch(5), default);
        var running = await _scene.SeenAsync();
        await _scene.PassAsync(Driver.StopAsync(Id, new Epoch(5), Gently, default));
        var stopped = await _scene.SeenAsync();
        await Driver.RemoveAsync(Id, new Epoch(5), default);

        Assert.Equal((DriverState.Created, new Epoch(5), 1L), (created!.State, created.Epoch, created.Generation));
        Assert.Equal((DriverState.Running, 4711, Accelerator.Tcg), (running!.State, running.ProcessId, running.Accelerator));
        Assert.Equal((DriverState.Stopped, 143, 15), (stopped!.State, stopped.Exit!.Code, stopped.Exit.Signal));
        Assert.Equal([15], _scene.Signals);
        Assert.Equal(["root", "config"], Vmm.Started.Single().Disks.Select(disk => disk.Name));
        Assert.Equal((2, 1L), (Vmm.Started[0].VirtualCpus, _scene.Configs.Single().Run));
        Assert.Null(await _scene.SeenAsync());
        Assert.Empty(await Driver.ListAsync(default));
        Assert.Empty(_scene.Leftovers);
    }

    [Fact]
    public async Task Every_call_may_be_repeated()
    {
        _scene.OnSignal = _ => _scene.Exit(0);
        for (var twice = 0; twice < 2; twice++)
        {
            await Driver.CreateAsync(_scene.Definition(), default);
        }

        await TwiceAsync(() => Driver.StartAsync(Id, new Epoch(5), default));
        await TwiceAsync(() => Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Generation = 9), default));
        await TwiceAsync(() => Driver.PauseAsync(Id, new Epoch(5), default));
        Assert.Equal(DriverState.Paused, (await _scene.SeenAsync())!.State);
        await TwiceAsync(() => Driver.ResumeAsync(Id, new Epoch(5), default));
        await TwiceAsync(() => Driver.RaiseEpochAsync(Id, new Epoch(6), default));
        Assert.Equal((DriverState.Running, new Epoch(6), 1L), ((await _scene.SeenAsync())!.State, (await _scene.SeenAsync())!.Epoch, (await _scene.SeenAsync())!.Generation));
        await TwiceAsync(() => _scene.PassAsync(Driver.StopAsync(Id, new Epoch(6), Gently, default)));
        Assert.Equal(0, (await _scene.SeenAsync())!.Exit!.Code);
        await TwiceAsync(() => Driver.RemoveAsync(Id, new Epoch(6), default));

        Assert.Single(Vmm.Started);
        Assert.Empty(_scene.Leftovers);

        static async Task TwiceAsync(Func<Task> call)
        {
            await call();
            await call();
        }
    }

    [Fact]
    public async Task The_root_disk_is_as_fast_as_it_may_be_and_one_that_lies_suspended_goes_on_as_it_was()
    {
        await Driver.CreateAsync(_scene.Definition(change: Limit(65536)), default);
        await Driver.StartAsync(Id, new Epoch(5), default);
        await Driver.SuspendAsync(Id, new Epoch(5), default);
        await Driver.CreateAsync(_scene.Definition(change: Limit(0)), default);
        await Driver.StartAsync(Id, new Epoch(5), default);

        Assert.All(Vmm.Started, machine => Assert.Equal(
            [new IoRate(0, 65536, 0, 0)], machine.Disks.Where(disk => disk.Rate is not null).Select(disk => disk.Name == "root" ? disk.Rate : null)));
        Assert.Equal(2, Vmm.Started.Count);

        static Action<Assignment> Limit(long rate) => assignment => assignment.Spec.DiskRates = new() { WriteBytesPerSecond = rate };
    }

    [Fact]
    public async Task A_lower_epoch_is_refused_everywhere_and_changes_nothing()
    {
        await _scene.RunAsync(epoch: 5);
        var stale = new Epoch(4);
        foreach (var call in (Func<Task>[])
        [
            () => Driver.CreateAsync(_scene.Definition(epoch: 4), default),
            () => Driver.StartAsync(Id, stale, default),
            () => Driver.StopAsync(Id, stale, Gently, default),
            () => Driver.PauseAsync(Id, stale, default),
            () => Driver.ResumeAsync(Id, stale, default),
            () => Driver.SuspendAsync(Id, stale, default),
            () => Driver.RaiseEpochAsync(Id, stale, default),
            () => Driver.RemoveAsync(Id, stale, default),
        ])
        {
            Assert.Equal("StaleEpoch", (await Assert.ThrowsAsync<DriverException>(call)).Reason);
        }

        var seen = await _scene.SeenAsync();
        Assert.Equal((DriverState.Running, new Epoch(5)), (seen!.State, seen.Epoch));
        Assert.Empty(_scene.Signals);
    }

    [Fact]
    public async Task A_mute_vmm_is_never_taken_for_an_empty_one()
    {
        await _scene.RunAsync();
        Vmm.Mute = true;
        foreach (var call in (Func<Task>[])
        [
            () => Driver.ListAsync(default), () => Driver.GetAsync(Id, default), () => Driver.CreateAsync(_scene.Definition(epoch: 7), default),
            () => Driver.StartAsync(Id, new Epoch(5), default), () => Driver.RemoveAsync(Id, new Epoch(5), default),
        ])
        {
            Assert.Equal("RuntimeUnavailable", (await Assert.ThrowsAsync<DriverException>(call)).Reason);
        }

        Vmm.Mute = false;
        Assert.Equal(DriverState.Running, (await _scene.SeenAsync())!.State);
    }

    [Fact]
    public async Task An_agent_that_dies_at_any_point_is_followed_by_one_that_goes_on()
    {
        for (var point = 0; ; point++)
        {
            using var scene = new GuestScene();
            var reached = 0;
            scene.OnSignal = _ => scene.Exit(0);
            foreach (var call in (Func<Task>[])
            [
                () => scene.Driver.CreateAsync(scene.Definition(), default),
                () => scene.Driver.StartAsync(scene.Id, new Epoch(5), default),
                () => scene.Driver.SuspendAsync(scene.Id, new Epoch(5), default),
                () => scene.Driver.CreateAsync(scene.Definition(), default),
                () => scene.Driver.StartAsync(scene.Id, new Epoch(5), default),
                () => scene.PassAsync(scene.Driver.StopAsync(scene.Id, new Epoch(5), Gently, default)),
                () => scene.Driver.RemoveAsync(scene.Id, new Epoch(5), default),
            ])
            {
                scene.Vmm.At = _ =>
                {
                    if (reached++ == point)
                    {
                        throw new AgentDiedException();
                    }
                };
                try
                {
                    await call();
                }
                catch (AgentDiedException)
                {
                    scene.NewAgent();
                    _ = await scene.Driver.ListAsync(default);
                    if (await scene.SeenAsync() is { State: DriverState.Partial or DriverState.Created or DriverState.Stopped, Exit: null })
                    {
                        // As the runner does with what has vanished.
                        await scene.Driver.CreateAsync(scene.Definition(), default);
                    }

                    await call();
                }
            }

            Assert.True(scene.Leftovers.Any() is false, $"after point {point}: {string.Join(", ", scene.Leftovers)}");
            Assert.Equal(scene.Configs.Select(config => config.Run).Distinct().Count(), scene.Configs.Count);
            if (reached <= point)
            {
                Assert.True(point > 20);
                return;
            }
        }
    }

    [Fact]
    public async Task What_is_half_made_can_always_be_removed()
    {
        foreach (var word in new[] { "image", "before disks", "after disks", "before config", "before start", "after start" })
        {
            using var scene = new GuestScene();
            scene.Vmm.At = at =>
            {
                if (at == word)
                {
                    throw new AgentDiedException();
                }
            };
            await Assert.ThrowsAsync<AgentDiedException>(() => scene.RunAsync());
            scene.Vmm.At = _ => { };
            scene.NewAgent();
            Assert.Equal(word == "image" ? 0 : 1, (await scene.Driver.ListAsync(default)).Count);
            await scene.Driver.RemoveAsync(scene.Id, new Epoch(5), default);
            Assert.Empty(scene.Leftovers);
        }
    }

    [Fact]
    public async Task A_record_that_cannot_be_read_is_something_partial_of_no_epoch()
    {
        await _scene.RunAsync();
        await File.WriteAllTextAsync(Path.Combine(_scene.Store.FolderOf(Id.Value), "record.json"), "{ \"epoch\": ");
        Vmm.End(Id);

        var seen = await _scene.SeenAsync();
        await Driver.RemoveAsync(Id, new Epoch(1), default);

        Assert.Equal((DriverState.Partial, Epoch.None), (seen!.State, seen.Epoch));
        Assert.Empty(_scene.Leftovers);
    }

    [Fact]
    public async Task A_guest_runs_on_when_the_agent_is_started_again()
    {
        await _scene.RunAsync();
        _scene.NewAgent();

        var seen = Assert.Single(await Driver.ListAsync(default));
        Assert.Equal((DriverState.Running, "web", 1L), (seen.State, seen.Name, seen.Generation));
        Assert.Equal(_scene.Definition().Assignment, seen.MadeFrom);
    }

    [Fact]
    public async Task An_exit_while_no_agent_ran_is_found_out_and_counts_one_restart()
    {
        await _scene.RunAsync();
        _scene.Exit(3);
        _scene.Time.Advance(TimeSpan.FromSeconds(1));
        _scene.NewAgent();

        var ended = Assert.Single(await Driver.ListAsync(default));
        await Driver.CreateAsync(_scene.Definition(), default);
        var prepared = await _scene.SeenAsync();
        await Driver.StartAsync(Id, new Epoch(5), default);
        var again = await _scene.SeenAsync();

        Assert.Equal((DriverState.Stopped, 3), (ended.State, ended.Exit!.Code));
        Assert.Equal((DriverState.Stopped, 3), (prepared!.State, prepared.Exit!.Code));
        Assert.Equal((DriverState.Running, 1, null), (again!.State, again.Restarts.Total, again.Exit));
        Assert.Equal([1L, 2L], _scene.Configs.Select(config => config.Run));
    }

    [Fact]
    public async Task A_run_that_a_user_asked_for_forgets_how_the_last_one_ended()
    {
        await _scene.RunAsync();
        _scene.Exit(3);
        await Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Spec.RestartGeneration = 1), default);
        var seen = await _scene.SeenAsync();

        Assert.Equal((DriverState.Created, null, 1L), (seen!.State, seen.Exit, seen.RestartGeneration));
    }

    [Fact]
    public async Task A_guest_that_vanishes_is_stopped_without_an_exit_and_a_loop_of_that_is_shown_and_slowed_down()
    {
        for (var crash = 0; crash < GuestLimits.CrashesUntilShown; crash++)
        {
            await _scene.RunAsync();
            Vmm.End(Id);
            var seen = await _scene.SeenAsync();
            Assert.Equal((DriverState.Stopped, null), (seen!.State, seen.Exit));
        }

        await File.WriteAllTextAsync(_scene.Store.ConsoleLogOf(Id.Value), "boot\nKernel panic - not syncing\n");
        var shown = await Assert.ThrowsAsync<DriverException>(() => _scene.RunAsync());
        _scene.Time.Advance(Hypervisor.Agent.Limits.RestartMinimum);
        await _scene.RunAsync();

        Assert.Equal(("GuestCrashed", false), (shown.Reason, shown.Permanent));
        Assert.Contains("Kernel panic", shown.Message, StringComparison.Ordinal);
        Assert.Equal(DriverState.Running, (await _scene.SeenAsync())!.State);
    }

    [Fact]
    public async Task A_reboot_of_the_host_is_no_crash()
    {
        for (var boot = 0; boot < GuestLimits.CrashesUntilShown + 2; boot++)
        {
            await _scene.RunAsync();
            Vmm.Reboot();
            _scene.BootId = $"boot {boot}";
            _scene.NewAgent();
            Assert.Equal(DriverState.Stopped, (await _scene.SeenAsync())!.State);
        }
    }

    [Fact]
    public async Task A_guest_that_never_comes_to_its_init_is_ended_and_its_console_shown()
    {
        _scene.InitAnswers = false;
        Vmm.OnStart = machine => File.WriteAllText(machine.ConsoleLog, "VFS: Unable to mount root fs\r\n");
        await Driver.CreateAsync(_scene.Definition(), default);
        var failure = await Assert.ThrowsAsync<DriverException>(() => _scene.PassAsync(Driver.StartAsync(Id, new Epoch(5), default)));

        Assert.Equal("GuestNotBooting", failure.Reason);
        Assert.Contains("Unable to mount root fs", failure.Message, StringComparison.Ordinal);
        Assert.Equal(VmmState.Stopped, Vmm.StateOf(Id));
    }

    [Fact]
    public async Task An_entry_point_that_cannot_be_started_is_the_starts_failure()
    {
        _scene.InitAnswers = false;
        Vmm.OnStart = _ => _scene.Exit(127, reason: "CommandNotFound");
        await Driver.CreateAsync(_scene.Definition(), default);
        var failure = await Assert.ThrowsAsync<DriverException>(() => _scene.PassAsync(Driver.StartAsync(Id, new Epoch(5), default)));

        Assert.Equal(("CommandNotFound", true), (failure.Reason, failure.Permanent));
    }

    [Fact]
    public async Task A_guest_that_ignores_its_signal_is_killed_after_its_grace_period()
    {
        await _scene.RunAsync();
        var begun = _scene.Time.GetUtcNow();
        await _scene.PassAsync(Driver.StopAsync(Id, new Epoch(5), new StopPolicy(1, TimeSpan.FromSeconds(3)), default));

        Assert.InRange(_scene.Time.GetUtcNow() - begun, TimeSpan.FromSeconds(3), TimeSpan.FromSeconds(4));
        Assert.Equal([1], _scene.Signals);
        Assert.Equal(9, (await _scene.SeenAsync())!.Exit!.Signal);
    }

    [Theory]
    [InlineData(true, 0, 0)]
    [InlineData(false, 137, 9)]
    public async Task A_guest_without_our_init_is_asked_by_its_power_button(bool obeys, int code, int signal)
    {
        _scene.Process = null;
        Vmm.OnPowerButton = () =>
        {
            if (obeys)
            {
                Vmm.End(Id, poweredOff: true);
            }
        };
        await _scene.RunAsync();
        await _scene.PassAsync(Driver.StopAsync(Id, new Epoch(5), Gently, default));
        var seen = await _scene.SeenAsync();

        Assert.Equal((code, signal, 1), (seen!.Exit!.Code, seen.Exit.Signal, Vmm.PowerButton));
        Assert.Null(Vmm.Started.Single().Boot);
        Assert.Equal(["root"], Vmm.Started.Single().Disks.Select(disk => disk.Name));
    }

    [Fact]
    public async Task A_power_button_that_was_missed_is_pressed_again()
    {
        _scene.Process = null;
        Vmm.OnPowerButton = () =>
        {
            if (Vmm.PowerButton == 2)
            {
                Vmm.End(Id, poweredOff: true);
            }
        };
        await _scene.RunAsync();
        await _scene.PassAsync(Driver.StopAsync(Id, new Epoch(5), new StopPolicy(0, TimeSpan.FromMinutes(1)), default));

        Assert.Equal((0, 2), ((await _scene.SeenAsync())!.Exit!.Code, Vmm.PowerButton));
    }

    [Fact]
    public async Task A_disk_image_is_no_microvm()
    {
        _scene.Process = null;
        Vmm.Abilities = VmmAbilities.None;
        Assert.Equal("ImageUnsupported", (await Assert.ThrowsAsync<DriverException>(() => Driver.CreateAsync(_scene.Definition(), default))).Reason);
    }

    [Theory]
    [InlineData(DiskKind.Ephemeral, "sha256:1", 6, "sha256:1", 2)]
    [InlineData(DiskKind.Ephemeral, "sha256:2", 5, "sha256:2", 2)]
    [InlineData(DiskKind.Local, "sha256:2", 5, "sha256:1", 1)]
    [InlineData(DiskKind.Ephemeral, "sha256:1", 5, "sha256:1", 1)]
    public async Task Only_ephemeral_disks_of_another_stay_or_image_are_made_anew(DiskKind kind, string digest, long epoch, string content, int written)
    {
        var times = 0;
        await Driver.CreateAsync(With("sha256:1", 5), default);
        var root = Path.Combine(_scene.Store.FolderOf(Id.Value), "root.disk");
        times += File.Exists(root) ? 1 : 0;
        await File.AppendAllTextAsync(root, "");
        File.SetLastWriteTimeUtc(root, DateTime.UnixEpoch);
        await Driver.CreateAsync(With(digest, epoch), default);

        Assert.Equal(content, await File.ReadAllTextAsync(root));
        Assert.Equal(written, times + (File.GetLastWriteTimeUtc(root) == DateTime.UnixEpoch ? 0 : 1));

        InstanceDefinition With(string image, long at) =>
            _scene.Definition(at, image, assignment => assignment.Spec.Disks.Add(new Disk { Name = "root", Kind = kind }));
    }

    [Fact]
    public async Task A_suspended_guest_goes_on_from_its_memory_once()
    {
        await _scene.RunAsync();
        await Driver.SuspendAsync(Id, new Epoch(5), default);
        var suspended = await _scene.SeenAsync();
        _scene.NewAgent();
        await Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Spec.Resources.MemoryBytes = 128 << 20), default);
        Assert.Equal(DriverState.Suspended, (await _scene.SeenAsync())!.State);
        await Driver.StartAsync(Id, new Epoch(5), default);

        Assert.Equal((DriverState.Suspended, null, 0), (suspended!.State, suspended.ProcessId, suspended.Restarts.Total));
        Assert.Equal([null, _scene.Store.StateOf(Id.Value)], Vmm.Started.Select(machine => machine.RestoreFrom));
        Assert.Equal(Vmm.Started[0].Limits, Vmm.Started[1].Limits);
        Assert.Equal(DriverState.Running, (await _scene.SeenAsync())!.State);
        Assert.False(File.Exists(_scene.Store.StateOf(Id.Value)));
        Assert.Single(_scene.Configs);

        Vmm.End(Id);
        await _scene.RunAsync();
        Assert.Null(Vmm.Started[^1].RestoreFrom);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_stop_or_a_restart_gives_up_what_was_suspended(bool stop)
    {
        await _scene.RunAsync();
        await Driver.SuspendAsync(Id, new Epoch(5), default);
        if (stop)
        {
            await _scene.PassAsync(Driver.StopAsync(Id, new Epoch(5), Gently, default));
            Assert.Equal(DriverState.Stopped, (await _scene.SeenAsync())!.State);
        }

        await Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Spec.RestartGeneration = 1), default);
        await Driver.StartAsync(Id, new Epoch(5), default);
        Assert.Null(Vmm.Started[^1].RestoreFrom);
        Assert.False(File.Exists(_scene.Store.StateOf(Id.Value)));
    }

    [Theory]
    [InlineData(AcceleratorRequirement.Unspecified, Accelerator.Kvm, Accelerator.Kvm)]
    [InlineData(AcceleratorRequirement.Any, Accelerator.Tcg, Accelerator.Tcg)]
    [InlineData(AcceleratorRequirement.Tcg, Accelerator.Kvm, Accelerator.Tcg)]
    [InlineData(AcceleratorRequirement.Kvm, Accelerator.Tcg, null)]
    [InlineData(AcceleratorRequirement.Any, Accelerator.None, null)]
    [InlineData(AcceleratorRequirement.Tcg, Accelerator.None, null)]
    public void A_guest_runs_with_what_it_asks_for_or_not_at_all(AcceleratorRequirement asked, Accelerator found, Accelerator? expected)
    {
        var assignment = _scene.Definition(change: made => made.Spec.Machine = new MachineSpec { Accelerator = asked }).Assignment;
        if (expected is { } accelerator)
        {
            Assert.Equal(accelerator, GuestPlan.Choose(assignment, new AcceleratorFinding(found, "")));
        }
        else
        {
            Assert.Equal("AcceleratorUnavailable", Assert.Throws<DriverException>(() => GuestPlan.Choose(assignment, new AcceleratorFinding(found, ""))).Reason);
        }
    }

    [Fact]
    public void The_longest_run_folder_leaves_room_for_sockets()
    {
        var folder = "/" + new string('r', 107 - 48 - 1);
        Assert.True(Path.Combine(folder, "m", Id.Value, "channel").Length <= 107);
    }
}
