using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Instances;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Xunit;

namespace Hypervisor.Tests.Agent.Guests;

/// <summary>
/// Protects: a snapshot holds what was there when it was taken, nothing is written to it afterwards, and an agent that dies while one is taken,
/// restored or deleted is followed by one that ends in the same state.
/// </summary>
public sealed class GuestSnapshotsTests : IDisposable
{
    private static readonly Epoch Five = new(5);

    private readonly GuestScene _scene = new();

    private InstanceId Id => _scene.Id;

    private string Folder => _scene.Store.FolderOf(Id.Value);

    public void Dispose() => _scene.Dispose();

    [Fact]
    public async Task A_running_guest_is_held_for_it_and_goes_on_in_the_same_run_from_another_file()
    {
        await _scene.RunAsync();
        Write("then");

        await Snapshot("s1");
        var held = await _scene.SeenAsync();
        Assert.Equal((DriverState.Suspended, null), (held!.State, _scene.Vmm.StateOf(Id) is VmmState.Running ? "runs" : null));
        await _scene.RunAsync();
        Write("now");

        var seen = await _scene.SeenAsync();
        var kept = Assert.Single(seen!.Snapshots);
        Assert.Equal(("s1", "", 7L, false), (kept.Wanted.Uid, kept.Reason, kept.SizeBytes, kept.Memory));
        Assert.Equal((DriverState.Running, 2), (seen.State, _scene.Vmm.Started.Count));
        Assert.Equal("then", File.ReadAllText(Path.Combine(Folder, "frozen-s1")));
        Assert.NotEqual(_scene.Vmm.Started[0].Disks[0].Path, _scene.Vmm.Started[1].Disks[0].Path);
        Assert.Equal(1, _scene.Refreshes);
        Assert.Single(_scene.Configs);
    }

    /// <summary>Its user never suspended it: cut off, it would lose what a stop gives it time for.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_guest_that_is_held_for_it_goes_on_to_be_asked_to_end(bool prepared)
    {
        _scene.OnSignal = signal => _scene.Exit(0);
        await _scene.RunAsync();
        await Snapshot("s1");
        if (prepared)
        {
            // As before every start, and the stop comes in between.
            await _scene.Driver.CreateAsync(_scene.Definition(), default);
        }

        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new StopPolicy(15, TimeSpan.FromSeconds(3)), default));

        var stopped = await _scene.SeenAsync();
        Assert.Equal((DriverState.Stopped, 0), (stopped!.State, stopped.Exit!.Code));
        Assert.Equal([15], _scene.Signals);
        Assert.Equal(2, _scene.Vmm.Started.Count);
    }

    /// <summary>What its user suspended is given up by a stop, and so is what cannot go on.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_lies_suspended_is_given_up_by_a_stop(bool interrupted)
    {
        await _scene.RunAsync();
        if (interrupted)
        {
            await Snapshot("s1");
            _scene.Vmm.OnStart = _ => throw new DriverException("VmmFailed", "it cannot go on", permanent: false);
        }
        else
        {
            await _scene.Driver.SuspendAsync(Id, Five, default);
        }

        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new StopPolicy(15, TimeSpan.FromSeconds(3)), default));

        var stopped = await _scene.SeenAsync();
        Assert.Equal((DriverState.Stopped, 137, 9), (stopped!.State, stopped.Exit!.Code, stopped.Exit.Signal));
        Assert.Empty(_scene.Signals);
    }

    [Fact]
    public async Task One_of_a_stopped_guest_starts_nothing()
    {
        await _scene.Driver.CreateAsync(_scene.Definition(), default);

        await Snapshot("s1");

        Assert.Equal(DriverState.Created, (await _scene.SeenAsync())!.State);
        Assert.Empty(_scene.Vmm.Started);
    }

    [Fact]
    public async Task Disks_alone_are_put_back_and_the_guest_boots_anew()
    {
        await _scene.RunAsync();
        Write("then");
        await Snapshot("s1");
        await _scene.RunAsync();
        Write("now");

        await Restore("s1");
        var restored = await _scene.SeenAsync();
        Assert.Equal((DriverState.Stopped, null, ""), (restored!.State, restored.Exit, restored.Restored!.Reason));
        await _scene.RunAsync();

        Assert.Equal("then", File.ReadAllText(FakeDisks.ActiveOf(Folder)));
        Assert.Null(_scene.Vmm.Started[^1].RestoreFrom);
        Assert.Equal("then", File.ReadAllText(_scene.Vmm.Started[^1].Disks[0].Path));
    }

    [Fact]
    public async Task With_its_memory_a_guest_goes_on_from_there_as_often_as_is_asked()
    {
        List<string> memories = [];
        _scene.Vmm.OnStart = machine => memories.Add(machine.RestoreFrom is { } path ? File.ReadAllText(path) : "cold");
        await _scene.RunAsync();
        _scene.Vmm.Memory = "then";
        await Snapshot("s1", memory: true);
        _scene.Vmm.Memory = "now";
        await _scene.RunAsync();
        for (var generation = 1; generation <= 2; generation++)
        {
            await Restore("s1", generation);
            Assert.Equal(DriverState.Suspended, (await _scene.SeenAsync())!.State);
            await _scene.RunAsync();
        }

        Assert.Equal(["cold", "then", "then", "then"], memories);
        Assert.True((await _scene.SeenAsync())!.Snapshots.Single().Memory);
    }

    [Fact]
    public async Task Of_a_run_that_ended_after_its_snapshot_the_old_exit_does_not_count()
    {
        await _scene.RunAsync();
        await Snapshot("s1", memory: true);
        await _scene.RunAsync();
        _scene.Exit(0);
        await _scene.SeenAsync();

        await Restore("s1");
        await _scene.RunAsync();

        // The guest that goes on is in run 1 as far as it knows, whose exit lay on the drive.
        Assert.Equal((2, 1L), (_scene.Configs.Count, _scene.Configs[^1].Run));
        Assert.Equal(1L, _scene.Store.Read(Id.Value)!.Run);
        _scene.Exit(3);
        Assert.Equal(3, (await _scene.SeenAsync())!.Exit!.Code);
        await _scene.RunAsync();
        Assert.Equal(2L, _scene.Configs[^1].Run);
    }

    [Fact]
    public async Task A_paused_guest_does_not_run_meanwhile()
    {
        var paused = _scene.Definition(change: assignment => assignment.Spec.DesiredState = DesiredState.Paused);
        await _scene.Driver.CreateAsync(paused, default);
        await _scene.Driver.StartAsync(Id, Five, default);
        await _scene.Driver.PauseAsync(Id, Five, default);

        await Snapshot("s1");
        await _scene.Driver.CreateAsync(paused, default);
        await _scene.Driver.StartAsync(Id, Five, default);

        Assert.True(_scene.Vmm.Started[^1].StayPaused);
        Assert.Equal((DriverState.Paused, 0), ((await _scene.SeenAsync())!.State, _scene.Refreshes));
    }

    [Fact]
    public async Task What_cannot_be_taken_is_noted_once_and_the_guest_runs_on()
    {
        await _scene.RunAsync();
        _scene.Vmm.At = step =>
        {
            if (step == "before save")
            {
                throw DriverException.OfFullDisk(null);
            }
        };

        await Snapshot("s1", memory: true);

        var seen = await _scene.SeenAsync();
        Assert.Equal((DriverState.Running, "DiskFull"), (seen!.State, seen.Snapshots.Single().Reason));
        _scene.Vmm.At = _ => throw new InvalidOperationException("it was tried again");
        Assert.Equal(RunnerAction.Rest, Next(seen, "s1"));
        Assert.Empty(FakeDisks.SnapshotsOf(Folder));
    }

    [Fact]
    public async Task Memory_of_what_does_not_run_and_guests_that_cannot_be_held_are_refused_with_what_to_do()
    {
        await _scene.Driver.CreateAsync(_scene.Definition(), default);
        await Snapshot("s1", memory: true);
        _scene.Vmm.Abilities = VmmAbilities.OutputFiles;
        await _scene.RunAsync();
        await Snapshot("s2");

        var seen = await _scene.SeenAsync();
        Assert.Equal(["SnapshotNeedsMemory", "SnapshotNeedsStop"], seen!.Snapshots.Select(snapshot => snapshot.Reason));
        Assert.Contains("start it first", seen.Snapshots[0].Message, StringComparison.Ordinal);
        Assert.Contains("stop the instance first", seen.Snapshots[1].Message, StringComparison.Ordinal);
        Assert.Equal(DriverState.Running, seen.State);
    }

    [Fact]
    public async Task Memory_does_not_fit_into_another_machine_and_nothing_is_lost_by_trying()
    {
        await _scene.RunAsync();
        await Snapshot("s1", memory: true);
        await _scene.RunAsync();
        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new(9, TimeSpan.Zero), default));
        await _scene.Driver.CreateAsync(_scene.Definition(change: assignment => assignment.Spec.Resources.MemoryBytes *= 2), default);
        Write("now");

        await Restore("s1");

        var seen = await _scene.SeenAsync();
        Assert.Equal((1L, "SnapshotOfOtherMachine"), (seen!.Restored!.Generation, seen.Restored.Reason));
        Assert.Contains("set spec.resources back first", seen.Restored.Message, StringComparison.Ordinal);
        Assert.Equal("now", File.ReadAllText(FakeDisks.ActiveOf(Folder)));
    }

    [Fact]
    public async Task Disks_made_anew_lose_their_snapshots_and_none_is_taken_again()
    {
        await _scene.RunAsync();
        await Snapshot("s1", memory: true);

        await _scene.RunAsync(epoch: 6);

        var seen = await _scene.SeenAsync();
        Assert.Equal("SnapshotLost", seen!.Snapshots.Single().Reason);
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(Folder, "snapshots")));
        await _scene.Driver.DeleteSnapshotAsync(Id, new Epoch(6), "s1", default);
        Assert.Empty((await _scene.SeenAsync())!.Snapshots);
    }

    [Fact]
    public async Task An_agent_that_dies_at_any_point_is_followed_by_one_that_ends_where_it_would_have()
    {
        for (var point = 0; ; point++)
        {
            using var scene = new GuestScene();
            var reached = 0;
            await scene.RunAsync();
            File.WriteAllText(FakeDisks.ActiveOf(scene.Store.FolderOf(scene.Id.Value)), "then");
            foreach (var call in (Func<Task>[])
            [
                () => scene.Driver.SnapshotAsync(scene.Id, Five, Wanted("s1", memory: true), default),
                () => scene.Driver.CreateAsync(scene.Definition(), default),
                () => scene.Driver.StartAsync(scene.Id, Five, default),
                () => scene.Driver.RestoreAsync(scene.Id, Five, new RestoreSpec { SnapshotUid = "s1", Generation = 1 }, default),
                () => scene.Driver.DeleteSnapshotAsync(scene.Id, Five, "s1", default),
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
            Assert.Equal((DriverState.Suspended, 1L, ""), (seen!.State, seen.Restored!.Generation, seen.Restored.Reason));
            Assert.Empty(seen.Snapshots);
            var folder = scene.Store.FolderOf(scene.Id.Value);
            Assert.Empty(FakeDisks.SnapshotsOf(folder));
            Assert.Empty(Directory.EnumerateFiles(Path.Combine(folder, "snapshots")));
            Assert.Equal("then", File.ReadAllText(FakeDisks.ActiveOf(folder)));
            await scene.Driver.RemoveAsync(scene.Id, Five, default);
            Assert.Empty(scene.Leftovers);
            if (reached <= point)
            {
                Assert.True(point > 10, $"only {point} points were passed");
                return;
            }
        }
    }

    [Fact]
    public async Task A_clone_has_disks_of_its_own_and_its_own_identity()
    {
        await _scene.RunAsync();
        Write("then");
        await Snapshot("s1");
        await _scene.RunAsync();
        Write("now");
        var clone = Clone("s1");

        await _scene.Driver.CreateAsync(clone, default);
        await _scene.Driver.StartAsync(clone.Id, Five, default);

        var disk = FakeDisks.ActiveOf(_scene.Store.FolderOf(clone.Id.Value));
        Assert.Equal("then", File.ReadAllText(disk));
        Assert.Equal(("copy", clone.Id.Value), (_scene.Configs[^1].Hostname, _scene.Configs[^1].Uid));
        File.WriteAllText(disk, "its own");
        await _scene.Driver.CreateAsync(clone, default);
        Assert.Equal(("its own", "now"), (File.ReadAllText(disk), File.ReadAllText(FakeDisks.ActiveOf(Folder))));
    }

    [Fact]
    public async Task Disks_as_they_are_are_copied_only_while_their_instance_does_not_run()
    {
        await _scene.RunAsync();
        var clone = Clone("");

        var refusal = await Assert.ThrowsAsync<DriverException>(() => _scene.Driver.CreateAsync(clone, default));
        Assert.Equal(("CloneSourceRunning", false), (refusal.Reason, refusal.Permanent));
        await _scene.PassAsync(_scene.Driver.StopAsync(Id, Five, new(9, TimeSpan.Zero), default));
        Write("as it is");
        await _scene.Driver.CreateAsync(clone, default);
        Assert.Equal("as it is", File.ReadAllText(FakeDisks.ActiveOf(_scene.Store.FolderOf(clone.Id.Value))));

        await _scene.Driver.RemoveAsync(Id, Five, default);
        await _scene.Driver.CreateAsync(clone, default);
        await _scene.Driver.RemoveAsync(clone.Id, Five, default);
        refusal = await Assert.ThrowsAsync<DriverException>(() => _scene.Driver.CreateAsync(clone, default));
        Assert.Equal(("CloneSourceGone", true), (refusal.Reason, refusal.Permanent));
    }

    private static SnapshotSpec Wanted(string uid, bool memory = false) => new() { Uid = uid, Name = uid, Memory = memory, Epoch = 5 };

    private static RunnerAction Next(DriverInstance found, string wanted) => RunnerDecision.Decide(
        new RunnerView
        {
            Desired = new Assignment { Uid = found.Id.Value, Epoch = 5, Spec = new InstanceSpec { Snapshots = { Wanted(wanted) } } },
            Observed = Observation.Of(found),
            NetworkReady = true,
            KeepsSnapshots = true,
        },
        TimeSpan.Zero).Action;

    private InstanceDefinition Clone(string snapshot) => _scene.Definition(change: assignment =>
    {
        (assignment.Uid, assignment.Name) = ("99999999-2222-4333-8444-555555555555", "copy");
        assignment.Spec.Source = new CloneSource { InstanceUid = Id.Value, SnapshotUid = snapshot };
    });

    private void Write(string content) => File.WriteAllText(FakeDisks.ActiveOf(Folder), content);

    private Task Snapshot(string uid, bool memory = false) => _scene.Driver.SnapshotAsync(Id, Five, Wanted(uid, memory), default);

    private Task Restore(string uid, long generation = 1) =>
        _scene.Driver.RestoreAsync(Id, Five, new RestoreSpec { SnapshotUid = uid, Generation = generation }, default);
}
