using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>
/// Protects: a snapshot of disks alone holds file systems in order where somebody in the guest answers, is taken all the same where nobody does,
/// and leaves no guest that may not write.
/// </summary>
public sealed class GuestQuiesceTests : IDisposable
{
    private static readonly Epoch Five = new(5);

    private readonly GuestScene _scene = new();

    private InstanceId Id => _scene.Id;

    public void Dispose() => _scene.Dispose();

    [Fact]
    public async Task A_guest_that_will_boot_from_its_disks_alone_puts_them_in_order_first()
    {
        await _scene.RunAsync();
        List<string> steps = [];
        _scene.Vmm.At = steps.Add;
        await Snapshot("quiet");
        Assert.Equal(["before freeze", "before pause", "before save"], steps.Where(step => step is "before freeze" or "before pause" or "before save"));
        await _scene.RunAsync();
        await Snapshot("with-memory", memory: true);
        await _scene.RunAsync();
        _scene.InitAnswers = false;
        await Snapshot("mute");

        Assert.Equal(1, _scene.Freezes);
        Assert.Equal(
            [("quiet", "", true), ("with-memory", "", false), ("mute", "", false)],
            (await _scene.SeenAsync())!.Snapshots.Select(snapshot => (snapshot.Wanted.Uid, snapshot.Reason, snapshot.Quiesced)));
    }

    [Fact]
    public async Task A_system_of_its_own_is_frozen_by_its_agent_and_writes_again_afterwards_or_when_the_snapshot_fails()
    {
        SystemOfItsOwn(_scene);
        await _scene.RunAsync();
        await Snapshot("s1");
        Assert.True(_scene.Vmm.Frozen && (await _scene.SeenAsync())!.Snapshots.Single().Quiesced);
        await _scene.RunAsync();
        Assert.False(_scene.Vmm.Frozen);

        _scene.Vmm.At = step =>
        {
            if (step == "before save")
            {
                throw DriverException.OfFullDisk(null);
            }
        };
        await Snapshot("s2");
        Assert.False(_scene.Vmm.Frozen);
        Assert.Equal((DriverState.Running, "DiskFull"), ((await _scene.SeenAsync())!.State, (await _scene.SeenAsync())!.Snapshots[^1].Reason));
    }

    /// <summary>A system that cannot write cannot end: its agent is not heard in the first moment after the guest went on.</summary>
    [Fact]
    public async Task A_guest_that_is_stopped_while_it_stands_still_writes_again_before_it_is_asked_to_end()
    {
        SystemOfItsOwn(_scene);
        await _scene.RunAsync();
        await Snapshot("s1");
        var (thaws, frozen) = (0, true);
        _scene.Vmm.AgentAnswers = false;
        _scene.Vmm.At = step => _scene.Vmm.AgentAnswers |= step == "before thaw" && ++thaws == 3;
        _scene.Vmm.OnPowerButton = () =>
        {
            frozen = _scene.Vmm.Frozen;
            _scene.Vmm.End(Id, poweredOff: true);
        };

        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new StopPolicy(15, TimeSpan.FromSeconds(30)), default));

        Assert.Equal((3, false), (thaws, frozen));
        Assert.Equal(DriverState.Stopped, (await _scene.SeenAsync())!.State);
    }

    /// <summary>It runs from the memory that was saved, whoever waited for that: its end is its own, and that memory is of no use any more.</summary>
    [Fact]
    public async Task A_guest_whose_start_from_memory_was_cut_off_is_asked_to_end_and_says_how_it_ended()
    {
        SystemOfItsOwn(_scene);
        await _scene.RunAsync();
        await Snapshot("s1");
        _scene.Vmm.At = step => _ = step == "after start" ? throw new OperationCanceledException() : 0;
        await Assert.ThrowsAsync<OperationCanceledException>(() => _scene.RunAsync());
        _scene.Vmm.At = _ => { };
        _scene.Vmm.OnPowerButton = () => _scene.Vmm.End(Id, poweredOff: true);

        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new StopPolicy(15, TimeSpan.FromSeconds(30)), default));

        Assert.Equal((1, DriverState.Stopped, 0), (_scene.Vmm.PowerButton, (await _scene.SeenAsync())!.State, (await _scene.SeenAsync())!.Exit!.Code));
    }

    [Fact]
    public async Task A_mute_agent_keeps_no_snapshot_from_being_taken_and_is_asked_again_to_let_the_guest_write()
    {
        SystemOfItsOwn(_scene);
        _scene.Vmm.AgentAnswers = false;
        await _scene.RunAsync();
        await Snapshot("s1");
        Assert.False((await _scene.SeenAsync())!.Snapshots.Single().Quiesced);
        await _scene.RunAsync();
        Assert.NotNull(_scene.Store.Read(Id.Value)!.FrozenAt);

        (_scene.Vmm.AgentAnswers, _scene.Vmm.Frozen) = (true, true);
        await _scene.Driver.ListAsync(default);

        Assert.False(_scene.Vmm.Frozen);
        Assert.Null(_scene.Store.Read(Id.Value)!.FrozenAt);
    }

    [Fact]
    public async Task An_agent_that_never_answers_again_is_not_asked_for_ever()
    {
        SystemOfItsOwn(_scene);
        _scene.Vmm.AgentAnswers = false;
        await _scene.RunAsync();
        await Snapshot("s1");
        await _scene.RunAsync();
        _scene.Time.Advance(GuestLimits.Thaw);
        await _scene.Driver.ListAsync(default);
        Assert.Null(_scene.Store.Read(Id.Value)!.FrozenAt);
    }

    [Fact]
    public async Task However_the_agent_dies_no_guest_stays_frozen()
    {
        for (var point = 0; ; point++)
        {
            using var scene = new GuestScene();
            SystemOfItsOwn(scene);
            await scene.RunAsync();
            var reached = 0;
            foreach (var call in (Func<Task>[])
            [
                () => scene.Driver.SnapshotAsync(scene.Id, Five, Wanted("s1", memory: false), default),
                () => scene.Driver.CreateAsync(scene.Definition(), default),
                () => scene.Driver.StartAsync(scene.Id, Five, default),
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
                    await call();
                }
            }

            scene.Vmm.At = _ => { };
            var seen = await scene.SeenAsync();
            Assert.Equal((DriverState.Running, "", false), (seen!.State, seen.Snapshots.Single().Reason, scene.Vmm.Frozen));
            if (reached <= point)
            {
                Assert.True(point > 10, $"only {point} points were passed");
                return;
            }
        }
    }

    private static SnapshotSpec Wanted(string uid, bool memory = false) => new() { Uid = uid, Name = uid, Memory = memory, Epoch = 5 };

    /// <summary>A VM that boots itself, with QEMU's guest agent in it.</summary>
    private static void SystemOfItsOwn(GuestScene scene)
    {
        scene.Process = null;
        scene.Vmm.Abilities |= VmmAbilities.GuestAgent;
    }

    private Task Snapshot(string uid, bool memory = false) => _scene.Driver.SnapshotAsync(Id, Five, Wanted(uid, memory), default);
}
