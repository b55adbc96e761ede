using Containerd.Services.Tasks.V1;
using Hypervisor.Agent.Drivers;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: SingleWriter and NoOrphans while containerd and its shims are killed or stopped.</summary>
public sealed class FaultTests : IAsyncLifetime
{
    private readonly ContainerdHost _host = new();

    public ValueTask InitializeAsync() => _host.InitializeAsync();

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Fact]
    public async Task Containers_survive_the_death_of_containerd_and_the_driver_finds_it_again()
    {
        var definition = _host.Define();
        var running = await _host.StartAsync(definition);
        await using var hints = _host.Driver.WatchAsync(Cancel).GetAsyncEnumerator(Cancel);
        var next = hints.MoveNextAsync().AsTask();
        await _host.KillContainerdAsync();
        Assert.Equal("RuntimeUnavailable", (await Assert.ThrowsAsync<DriverException>(async () =>
        {
            while (await next)
            {
                next = hints.MoveNextAsync().AsTask();
            }
        })).Reason);
        var error = await Assert.ThrowsAsync<DriverException>(() => _host.Driver.GetAsync(definition.Id, Cancel));
        Assert.Equal("RuntimeUnavailable", error.Reason);
        Assert.False((await _host.Driver.ProbeAsync(Cancel)).Available);
        await _host.StartContainerdAsync();
        Assert.Equal(running, await _host.Driver.GetAsync(definition.Id, Cancel));
        await _host.Driver.StopAsync(definition.Id, First, new StopPolicy(9, TimeSpan.Zero), Cancel);
        Assert.Equal(137, (await _host.Driver.GetAsync(definition.Id, Cancel))!.Exit!.Code);
    }

    [Fact]
    public async Task A_mute_containerd_makes_calls_fail_in_time()
    {
        var definition = _host.Define();
        var running = await _host.StartAsync(definition);
        await ContainerdHost.FreezeAsync(_host.ProcessId);
        try
        {
            var info = await _host.Driver.ProbeAsync(Cancel);
            Assert.False(info.Available);
            Assert.Contains("in time", info.Message, StringComparison.Ordinal);
            var error = await Assert.ThrowsAsync<DriverException>(() => _host.Driver.GetAsync(definition.Id, Cancel));
            Assert.Equal(("RuntimeUnavailable", false), (error.Reason, error.Permanent));
        }
        finally
        {
            ContainerdHost.Signal(_host.ProcessId, 18);
        }

        Assert.Equal(running, await _host.Driver.GetAsync(definition.Id, Cancel));
    }

    [Fact]
    public async Task A_shim_that_does_not_answer_keeps_no_process_alive()
    {
        var definition = _host.Define();
        var running = await _host.StartAsync(definition);
        foreach (var shim in _host.Shims())
        {
            await ContainerdHost.FreezeAsync(shim);
        }

        try
        {
            // containerd passes on that its own deadline ran out as UNKNOWN, which must not be taken for an answer.
            var error = await Assert.ThrowsAsync<DriverException>(() => _host.Driver.RemoveAsync(definition.Id, First, Cancel));
            Assert.True(error.Reason == "RuntimeUnavailable", error.Message);
            Assert.Contains("State:\tZ", File.ReadAllText($"/proc/{running.ProcessId}/status"), StringComparison.Ordinal);
        }
        finally
        {
            foreach (var shim in _host.Shims())
            {
                ContainerdHost.Signal(shim, 18);
            }
        }

        await _host.Driver.RemoveAsync(definition.Id, First, Cancel);
        Assert.Null(await _host.Driver.GetAsync(definition.Id, Cancel));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_container_whose_shim_was_killed_is_seen_stopped_and_starts_again(bool containerdToo)
    {
        var definition = _host.Define();
        var running = await _host.StartAsync(definition);
        if (containerdToo)
        {
            await _host.KillContainerdAsync();
        }

        foreach (var shim in _host.Shims())
        {
            ContainerdHost.Signal(shim, 9);
        }

        if (containerdToo)
        {
            await _host.StartContainerdAsync();
        }

        await ContainerdHost.UntilAsync(
            async () => (await _host.Driver.GetAsync(definition.Id, Cancel))!.State == DriverState.Stopped, "seen as stopped");
        Assert.Null((await _host.Driver.GetAsync(definition.Id, Cancel))!.Exit);
        await _host.Driver.StartAsync(definition.Id, First, Cancel);
        Assert.False(Linux.IsRunning(running.ProcessId!.Value), "the orphan must be gone before another runs");
        var again = await _host.Driver.GetAsync(definition.Id, Cancel);
        Assert.Equal(DriverState.Running, again!.State);
        Assert.NotEqual(running.ProcessId, again.ProcessId);
    }

    /// <summary>As when containerd dies while `runc start` runs, and takes it along: the process that waited for it ends too.</summary>
    [Fact]
    public async Task An_end_before_the_process_began_is_no_exit()
    {
        var definition = _host.Define();
        await _host.Driver.CreateAsync(definition, Cancel);
        var id = definition.Id.Value;
        var mounts = await _host.Client.Snapshots.MountsAsync(new() { Snapshotter = "overlayfs", Key = id }, _host.Client.Call(Cancel));
        var create = new CreateTaskRequest { ContainerId = id };
        create.Rootfs.Add(mounts.Mounts);
        var created = await _host.Client.Tasks.CreateAsync(create, _host.Client.Call(Cancel));
        ContainerdHost.Signal((int)created.Pid, 9);
        await _host.Client.Tasks.WaitAsync(new() { ContainerId = id }, _host.Client.Call(ContainerdHost.Patience, Cancel));
        var seen = (await _host.Driver.GetAsync(definition.Id, Cancel))!;
        Assert.Equal((DriverState.Created, null, null), (seen.State, seen.Exit, seen.StartedAt));
        await _host.Driver.StartAsync(definition.Id, First, Cancel);
        Assert.Equal(DriverState.Running, (await _host.Driver.GetAsync(definition.Id, Cancel))!.State);
    }

    [Fact]
    public async Task An_orphan_that_nobody_knows_is_killed_before_another_starts()
    {
        var definition = _host.Define();
        await _host.Driver.CreateAsync(definition, Cancel);
        var path = "/sys/fs/cgroup/pids" + _host.Cgroups.PathOf(definition.Id.Value);
        Directory.CreateDirectory(path);
        using var orphan = System.Diagnostics.Process.Start("/bin/sleep", "1000");
        await File.WriteAllTextAsync(path + "/cgroup.procs", orphan.Id.ToString(System.Globalization.CultureInfo.InvariantCulture), Cancel);
        await _host.Driver.StartAsync(definition.Id, First, Cancel);
        await orphan.WaitForExitAsync(Cancel);
        Assert.Equal(137, orphan.ExitCode);
        Assert.Equal(DriverState.Running, (await _host.Driver.GetAsync(definition.Id, Cancel))!.State);
    }

    /// <summary>
    /// As when containerd, or its client, dies while the last task of a shim is deleted: the shim is not told to end, and was perhaps started for a
    /// container that left long ago.
    /// </summary>
    [Fact]
    public async Task A_shim_that_serves_nobody_any_more_goes_with_the_next_container_that_is_removed()
    {
        var definition = _host.Define();
        await _host.StartAsync(definition);
        var serving = Assert.Single(_host.Shims());
        var idle = await _host.StartIdleShimAsync("somebody-long-gone");

        await _host.Driver.RemoveAsync(definition.Id, First, Cancel);
        await ContainerdHost.UntilAsync(() => Task.FromResult(!Linux.IsRunning(idle) && !Linux.IsRunning(serving)), "no shim is left");
    }

    [Fact]
    public async Task A_removal_leaves_the_shim_of_others_alone()
    {
        var (stays, goes) = (_host.Define(), _host.Define());
        var running = await _host.StartAsync(stays);
        await _host.StartAsync(goes);
        await _host.Driver.RemoveAsync(goes.Id, First, Cancel);
        Assert.Equal(running, await _host.Driver.GetAsync(stays.Id, Cancel));
    }

    [Fact]
    public async Task Half_made_instances_are_listed_and_can_be_made_whole_or_removed()
    {
        var withoutSnapshot = _host.Define();
        await _host.Driver.CreateAsync(withoutSnapshot, Cancel);
        await _host.Client.Snapshots.RemoveAsync(
            new() { Snapshotter = "overlayfs", Key = withoutSnapshot.Id.Value }, _host.Client.Call(Cancel));
        var withoutRecord = _host.Define();
        await _host.Driver.CreateAsync(withoutRecord, Cancel);
        await _host.Client.Containers.DeleteAsync(new() { Id = withoutRecord.Id.Value }, _host.Client.Call(Cancel));
        var withoutTask = _host.Define();
        await _host.StartAsync(withoutTask);
        await _host.Client.Tasks.KillAsync(new() { ContainerId = withoutTask.Id.Value, Signal = 9 }, _host.Client.Call(Cancel));
        await _host.Client.Tasks.WaitAsync(new() { ContainerId = withoutTask.Id.Value }, _host.Client.Call(Cancel));
        await _host.Client.Tasks.DeleteAsync(new() { ContainerId = withoutTask.Id.Value }, _host.Client.Call(Cancel));

        var listed = (await _host.Driver.ListAsync(Cancel)).ToDictionary(instance => instance.Id, instance => instance.State);
        Assert.Equal(DriverState.Partial, listed[withoutSnapshot.Id]);
        Assert.Equal(DriverState.Partial, listed[withoutRecord.Id]);
        Assert.Equal(DriverState.Stopped, listed[withoutTask.Id]);
        foreach (var definition in new[] { withoutSnapshot, withoutRecord, withoutTask })
        {
            Assert.Equal(DriverState.Running, (await _host.StartAsync(definition)).State);
            await _host.Driver.RemoveAsync(definition.Id, First, Cancel);
        }

        Assert.Empty(await _host.Driver.ListAsync(Cancel));
    }
}
