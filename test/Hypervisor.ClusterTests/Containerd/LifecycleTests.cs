using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Containerd.Containers;

namespace Hypervisor.ClusterTests.Containerd;

/// <summary>Protects: the life of a container against the real runtime, every step repeatable, nothing left at the end.</summary>
public sealed class LifecycleTests(ContainerdHost host) : IClassFixture<ContainerdHost>
{
    [Fact]
    public async Task A_container_runs_and_tells_what_it_is()
    {
        var definition = host.Define();
        var instance = await host.StartAsync(definition);
        Assert.Equal(
            (DriverState.Running, First, "web", "default", 1L, 7L),
            (instance.State, instance.Epoch, instance.Name, instance.Project, instance.Generation, instance.RestartGeneration));
        // runc answers when its own process is about to become the container's.
        await ContainerdHost.UntilAsync(
            () => Task.FromResult(File.ReadAllText($"/proc/{instance.ProcessId}/cmdline") == "/bin/sleep\01000\0"), "the image's command runs");
        Assert.NotNull(instance.StartedAt);
        Assert.Null(instance.Exit);
        host.ForgetEverything();
        Assert.Contains(await host.Driver.ListAsync(Cancel), listed => listed == instance);
        var container = await host.Client.Containers.GetAsync(new() { Id = definition.Id.Value }, host.Client.Call(Cancel));
        Assert.Equal(definition.Assignment, Assignment.Parser.ParseFrom(container.Container.Extensions["hypervisor.zixiao/assignment"].Value));
    }

    [Theory]
    [InlineData("exit 0", 0, 0)]
    [InlineData("exit 7", 7, 0)]
    [InlineData("kill -9 $$; sleep 9", 0, 0)]
    public async Task An_exit_code_is_kept_also_without_the_task(string script, int code, int signal)
    {
        // The main process of a pid namespace cannot be killed from inside: that script exits with sleep's status.
        var definition = host.DefineShell(script.Replace("sleep 9", "true", StringComparison.Ordinal));
        var ended = await host.RunToEndAsync(definition);
        Assert.Equal((DriverState.Stopped, code, signal, false), (ended.State, ended.Exit!.Code, ended.Exit.Signal, ended.Exit.OutOfMemory));
        host.ForgetEverything();
        Assert.Equal(ended, await host.Driver.GetAsync(definition.Id, Cancel));
        Assert.NotNull(ended.FinishedAt);
    }

    [Fact]
    public async Task A_signal_from_outside_is_the_reason()
    {
        var definition = host.Define();
        var running = await host.StartAsync(definition);
        ContainerdHost.Signal(running.ProcessId!.Value, 9);
        var ended = await host.EndAsync(definition);
        Assert.Equal((137, 9, false), (ended.Exit!.Code, ended.Exit.Signal, ended.Exit.OutOfMemory));
    }

    [Fact]
    public async Task Too_much_memory_is_the_reason()
    {
        var definition = host.DefineShell("dd if=/dev/zero of=/dev/shm/x bs=1M count=60; tail /dev/zero");
        definition.Assignment.Spec.Resources.MemoryBytes = 16 << 20;
        var ended = await host.RunToEndAsync(definition);
        Assert.True(ended.Exit!.OutOfMemory);
        host.ForgetEverything();
        Assert.True((await host.Driver.GetAsync(definition.Id, Cancel))!.Exit!.OutOfMemory);
    }

    [Fact]
    public async Task A_process_that_obeys_its_signal_is_not_killed()
    {
        var definition = host.DefineShell("trap 'exit 3' TERM; touch /tmp/ready; while :; do sleep 0.05; done");
        var running = await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(() => Task.FromResult(File.Exists($"/proc/{running.ProcessId}/root/tmp/ready")), "trap set");
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(15, ContainerdHost.Patience), Cancel);
        var stopped = await host.Driver.GetAsync(definition.Id, Cancel);
        Assert.Equal((DriverState.Stopped, 3), (stopped!.State, stopped.Exit!.Code));
    }

    [Fact]
    public async Task Without_a_signal_of_its_own_an_instance_is_sent_its_images()
    {
        var definition = host.DefineShell("trap 'exit 4' USR1; touch /tmp/ready; while :; do sleep 0.05; done");
        var running = await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(() => Task.FromResult(File.Exists($"/proc/{running.ProcessId}/root/tmp/ready")), "trap set");
        host.ForgetEverything();
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(0, ContainerdHost.Patience), Cancel);
        Assert.Equal(4, (await host.Driver.GetAsync(definition.Id, Cancel))!.Exit!.Code);
    }

    [Fact]
    public async Task A_process_that_ignores_its_signal_is_killed_after_the_grace_period()
    {
        // Process 1 of a pid namespace ignores signals it has no handler for; what runc is until then does not.
        var definition = host.Define();
        var running = await host.StartAsync(definition);
        await ContainerdHost.UntilAsync(
            () => Task.FromResult(!File.ReadAllText($"/proc/{running.ProcessId}/comm").StartsWith("runc", StringComparison.Ordinal)), "its program runs");
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(15, TimeSpan.FromMilliseconds(200)), Cancel);
        var stopped = await host.Driver.GetAsync(definition.Id, Cancel);
        Assert.Equal((DriverState.Stopped, 9), (stopped!.State, stopped.Exit!.Signal));
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(15, TimeSpan.Zero), Cancel);
        Assert.Equal(stopped, await host.Driver.GetAsync(definition.Id, Cancel));
    }

    [Fact]
    public async Task What_was_stopped_starts_again_with_its_disk()
    {
        var definition = host.DefineShell("test -e /tmp/been && exit 5; touch /tmp/been; exit 4");
        Assert.Equal(4, (await host.RunToEndAsync(definition)).Exit!.Code);
        definition.Assignment.Spec.RestartGeneration = 8;
        definition.Assignment.Generation = 2;
        await host.Driver.CreateAsync(definition, Cancel);
        var again = await host.Driver.GetAsync(definition.Id, Cancel);
        Assert.Equal((8L, 2L), (again!.RestartGeneration, again.Generation));
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        Assert.Equal(5, (await host.EndAsync(definition)).Exit!.Code);
    }

    [Fact]
    public async Task Pausing_stops_the_clock_of_a_process_and_a_paused_one_can_be_stopped()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        for (var repeat = 0; repeat < 2; repeat++)
        {
            await host.Driver.PauseAsync(definition.Id, First, Cancel);
            Assert.Equal(DriverState.Paused, (await host.Driver.GetAsync(definition.Id, Cancel))!.State);
        }

        for (var repeat = 0; repeat < 2; repeat++)
        {
            await host.Driver.ResumeAsync(definition.Id, First, Cancel);
            Assert.Equal(DriverState.Running, (await host.Driver.GetAsync(definition.Id, Cancel))!.State);
        }

        await host.Driver.PauseAsync(definition.Id, First, Cancel);
        await host.Driver.StopAsync(definition.Id, First, new StopPolicy(15, TimeSpan.FromMilliseconds(100)), Cancel);
        Assert.Equal(DriverState.Stopped, (await host.Driver.GetAsync(definition.Id, Cancel))!.State);
    }

    [Fact]
    public async Task Every_call_can_be_repeated()
    {
        var definition = host.Define();
        await host.Driver.CreateAsync(definition, Cancel);
        await host.Driver.CreateAsync(definition, Cancel);
        Assert.Equal(DriverState.Created, (await host.Driver.GetAsync(definition.Id, Cancel))!.State);
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        var running = await host.Driver.GetAsync(definition.Id, Cancel);
        await host.Driver.StartAsync(definition.Id, First, Cancel);
        await host.Driver.CreateAsync(definition, Cancel);
        Assert.Equal(running, await host.Driver.GetAsync(definition.Id, Cancel));
        await host.Driver.RemoveAsync(definition.Id, First, Cancel);
        await host.Driver.RemoveAsync(definition.Id, First, Cancel);
        Assert.Null(await host.Driver.GetAsync(definition.Id, Cancel));
    }

    [Fact]
    public async Task A_lower_epoch_is_refused_and_changes_nothing()
    {
        var definition = host.Define();
        var running = await host.StartAsync(definition);
        var stale = new Epoch(First.Value - 1);
        var old = new InstanceDefinition(new Assignment(definition.Assignment) { Epoch = stale.Value }, definition.ImageDigest, null);
        foreach (var call in (Func<Task>[])
            [
                () => host.Driver.CreateAsync(old, Cancel), () => host.Driver.StartAsync(definition.Id, stale, Cancel),
                () => host.Driver.StopAsync(definition.Id, stale, new StopPolicy(9, TimeSpan.Zero), Cancel),
                () => host.Driver.PauseAsync(definition.Id, stale, Cancel), () => host.Driver.ResumeAsync(definition.Id, stale, Cancel),
                () => host.Driver.RemoveAsync(definition.Id, stale, Cancel),
            ])
        {
            Assert.Equal("StaleEpoch", (await Assert.ThrowsAsync<DriverException>(call)).Reason);
        }

        Assert.Equal(running, await host.Driver.GetAsync(definition.Id, Cancel));
    }

    [Fact]
    public async Task A_higher_epoch_replaces_the_process_and_an_ephemeral_disk()
    {
        var definition = host.DefineShell("test -e /tmp/been && exit 5; touch /tmp/been; exec sleep 1000");
        var old = await host.StartAsync(definition);
        var next = new InstanceDefinition(new Assignment(definition.Assignment) { Epoch = First.Value + 1 }, definition.ImageDigest, null);
        await host.Driver.CreateAsync(next, Cancel);
        Assert.False(Linux.IsRunning(old.ProcessId!.Value));
        var created = await host.Driver.GetAsync(definition.Id, Cancel);
        Assert.Equal((DriverState.Created, next.Epoch), (created!.State, created.Epoch));
        await host.Driver.StartAsync(next.Id, next.Epoch, Cancel);
        Assert.Equal(DriverState.Running, (await host.Driver.GetAsync(next.Id, Cancel))!.State);
    }

    [Theory]
    [InlineData("CommandNotFound", "/bin/nope")]
    [InlineData("CommandNotFound", "nope")]
    [InlineData("CommandNotExecutable", "/work/not-executable")]
    public async Task A_command_that_cannot_run_is_named(string reason, string command)
    {
        var definition = host.Define(command);
        await host.Driver.CreateAsync(definition, Cancel);
        var error = await Assert.ThrowsAsync<DriverException>(() => host.Driver.StartAsync(definition.Id, First, Cancel));
        Assert.Equal((reason, true), (error.Reason, error.Permanent));
        Assert.Contains(command, error.Message, StringComparison.Ordinal);
        await AssertNothingLeftAsync(definition);
    }

    [Fact]
    public async Task A_user_that_is_not_in_the_image_is_named()
    {
        var definition = host.Define();
        definition.Assignment.Spec.Process.User = "nobody-here";
        var error = await Assert.ThrowsAsync<DriverException>(() => host.Driver.CreateAsync(definition, Cancel));
        Assert.Equal(("UserNotFound", true), (error.Reason, error.Permanent));
    }

    [Fact]
    public async Task Removal_leaves_nothing()
    {
        var definition = host.Define();
        await host.StartAsync(definition);
        await AssertNothingLeftAsync(definition);
    }

    [Fact]
    public async Task The_end_of_a_process_is_told_to_watchers()
    {
        var definition = host.Define();
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        deadline.CancelAfter(ContainerdHost.Patience);
        await using var hints = host.Driver.WatchAsync(deadline.Token).GetAsyncEnumerator(deadline.Token);
        var next = hints.MoveNextAsync().AsTask();
        var running = await host.StartAsync(definition);
        ContainerdHost.Signal(running.ProcessId!.Value, 9);
        InstanceId hint;
        do
        {
            Assert.True(await next);
            hint = hints.Current;
            next = hints.MoveNextAsync().AsTask();
        }
        while (hint != definition.Id || (await host.Driver.GetAsync(definition.Id, Cancel))!.State != DriverState.Stopped);

        await deadline.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            while (await next)
            {
                next = hints.MoveNextAsync().AsTask();
            }
        });
    }

    private async Task AssertNothingLeftAsync(InstanceDefinition definition)
    {
        var id = definition.Id;
        await host.Driver.RemoveAsync(id, First, Cancel);
        Assert.DoesNotContain(host.Mounts(), path => path.Contains(id.Value, StringComparison.Ordinal));
        Assert.False(host.Cgroups.Exists(id.Value));
        Assert.DoesNotContain(await host.Driver.ListAsync(Cancel), instance => instance.Id == id);
        Assert.Empty(Directory.EnumerateFileSystemEntries(host.Run, "*" + id.Value + "*", SearchOption.AllDirectories));
    }
}
