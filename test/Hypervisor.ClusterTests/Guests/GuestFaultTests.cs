using Google.Protobuf.WellKnownTypes;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>
/// Protects: whatever breaks of a guest or below it ends in a state and a reason, takes no guest along that works, and a delete
/// leaves nothing (Converges, NoOrphans, HostConfined).
/// </summary>
[Collection(GuestCluster.Name)]
public sealed class GuestFaultTests(GuestCluster guests)
{
    private const double Boot = 120;

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task An_entry_point_that_crashes_in_a_loop_is_waited_for_and_can_be_deleted(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        var request = GuestCluster.Request(type, "crashes", "sh", "-c", "exit 3");
        request.Spec.Restart = new RestartSpec { Policy = RestartPolicy.Always };
        await cluster.CreateAsync(request);

        var waits = await cluster.InstanceAsync(
            "crashes", "waits before its third start", instance => instance.Status is { Reason: "RestartBackoff", Restarts: >= 1 }, Boot);
        Assert.Equal(InstanceState.Starting, waits.Status.State);
        Assert.Contains("exit code 3", waits.Status.Message, StringComparison.Ordinal);
        Assert.Contains("It is started again after", waits.Status.Message, StringComparison.Ordinal);
        await guests.DeleteLastAsync("crashes");
    }

    [Fact]
    public async Task A_guest_whose_init_never_speaks_is_ended_and_says_so()
    {
        var cluster = await guests.BeginAsync();
        await guests.BreakBootAsync();
        InstanceType[] types = [InstanceType.Microvm, InstanceType.Vm];
        foreach (var type in types)
        {
            await cluster.CreateAsync(GuestCluster.Request(type, $"hangs-{(int)type}", "sleep", "3600"));
        }

        foreach (var type in types)
        {
            var hangs = await cluster.InstanceAsync($"hangs-{(int)type}", "is given up", instance => instance.Status.Reason == "GuestNotBooting", Boot);
            Assert.NotEqual(InstanceState.Running, hangs.Status.State);
            Assert.Contains("nothing will come of this", hangs.Status.Message, StringComparison.Ordinal);
        }

        // One of them by itself once its boot works, after the attempts that are under way.
        guests.MendBoot();
        await cluster.RunningAsync($"hangs-{(int)InstanceType.Microvm}", Boot + Boot);
        await guests.DeleteLastAsync([.. types.Select(type => $"hangs-{(int)type}")]);
    }

    [Fact]
    public async Task A_disk_without_a_boot_loader_is_unhealthy_ignores_its_power_button_and_is_killed_in_the_end()
    {
        var cluster = await guests.BeginAsync();
        var request = GuestCluster.EmptyDisk("empty");
        request.Spec.Health = new HealthCheck
        {
            Tcp = new TcpCheck { Port = 22 },
            Interval = Duration.FromTimeSpan(TimeSpan.FromSeconds(1)),
            Timeout = Duration.FromTimeSpan(TimeSpan.FromMilliseconds(500)),
        };
        await cluster.CreateAsync(request);

        // Whether a system of its own works is for its health check to say.
        var dead = await cluster.InstanceAsync("empty", "is found to be dead", instance => instance.Status.Reason == "Unhealthy", Boot);
        Assert.Equal(InstanceState.Running, dead.Status.State);
        Assert.Contains("health check fails", dead.Status.Message, StringComparison.Ordinal);
        await KilledAtItsStopAsync(cluster, "empty");
        await guests.DeleteLastAsync("empty");
    }

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task A_process_that_ignores_its_signal_is_killed_in_the_end(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        await cluster.CreateAsync(GuestCluster.Request(type, "stubborn", "sh", "-c", "trap '' TERM; : > /stubborn; while true; do sleep 1; done"));
        await cluster.RunningAsync("stubborn", Boot);
        await RealTime.UntilAsync("it ignores its signal", TimeSpan.FromSeconds(90), async () => await guests.ExecAsync("stubborn", "test", "-e", "/stubborn") is (0, _));
        await KilledAtItsStopAsync(cluster, "stubborn");
        await guests.DeleteLastAsync("stubborn");
    }

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task A_machine_that_is_killed_again_and_again_is_waited_for_with_the_reason(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        await cluster.CreateAsync(GuestCluster.Request(type, "killed", "sleep", "3600"));
        var killed = await cluster.InstanceAsync(
            "killed",
            "is seen to be killed",
            instance =>
            {
                if (instance.Status.State == InstanceState.Running)
                {
                    new Leftovers(cluster).Machines().ToList().ForEach(machine => Linux.Signal(machine, Linux.SignalKill));
                }

                return instance.Status.Reason == "GuestCrashed";
            },
            Boot);
        Assert.Contains("times in a row without an exit status", killed.Status.Message, StringComparison.Ordinal);

        await cluster.RunningAsync("killed", Boot);
        await guests.AnswersAsync("killed");
        await guests.DeleteLastAsync("killed");
    }

    [Theory]
    [InlineData(InstanceType.Microvm)]
    [InlineData(InstanceType.Vm)]
    public async Task An_agent_that_is_killed_while_a_guest_boots_and_while_it_runs_finds_the_same_machine(InstanceType type)
    {
        var cluster = await guests.BeginAsync();
        await cluster.CreateAsync(GuestCluster.Request(type, "stays", "sleep", "3600"));

        // Before that it is a shell that waits to be recorded, and ends with its agent.
        await RealTime.UntilAsync("a machine boots", TimeSpan.FromSeconds(Boot), () =>
            new Leftovers(cluster).Machines() is [var booting]
            && new FileInfo($"/proc/{booting}/exe").LinkTarget?.Contains("qemu", StringComparison.Ordinal) == true);
        var machine = Assert.Single(new Leftovers(cluster).Machines());
        await cluster.Agent.KillAsync();
        cluster.Agent.Start();
        await guests.AnswersAsync("stays");
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));

        await cluster.Agent.KillAsync();
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));
        cluster.Agent.Start();
        await guests.AnswersAsync("stays");
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));

        // Whoever cannot write in a folder cannot put a link into it.
        Assert.Equal("", await cluster.WritableByNobodyAsync());
        await guests.DeleteLastAsync("stays");
    }

    [Fact]
    public async Task A_vm_outlives_its_libvirtd_and_an_agent_that_finds_it_mute()
    {
        var cluster = await guests.BeginAsync();
        await cluster.CreateAsync(GuestCluster.Request(InstanceType.Vm, "outlives", "sleep", "3600"));
        var before = await cluster.RunningAsync("outlives", Boot);
        await guests.AnswersAsync("outlives");
        var machine = Assert.Single(new Leftovers(cluster).Machines());

        await cluster.Libvirtd!.KillAsync();
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));
        cluster.Libvirtd.Start();
        await guests.AnswersAsync("outlives");

        // An agent that remembers nothing asks a libvirtd that does not answer.
        cluster.Libvirtd.Signal(Linux.SignalStop);
        await cluster.Agent.KillAsync();
        cluster.Agent.Start();
        await cluster.InstanceAsync(
            "outlives",
            "is not known",
            instance => instance.Status.Conditions.Any(condition => condition is { Type: "Ready", Status: ConditionStatus.Unknown, Reason: "RuntimeUnavailable" }),
            Boot);
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));

        cluster.Libvirtd.Signal(Linux.SignalContinue);
        await guests.AnswersAsync("outlives");
        var after = await cluster.InstanceAsync(
            "outlives",
            "is known again",
            instance => Instances.Settled(instance, InstanceState.Running)
                && instance.Status.Conditions.Any(condition => condition is { Type: "Ready", Status: ConditionStatus.True }),
            Boot);
        Assert.Equal(before.Status.StartedAt, after.Status.StartedAt);
        Assert.Equal(machine, Assert.Single(new Leftovers(cluster).Machines()));

        // It is managed again.
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = "outlives" }, deadline: LocalCluster.Deadline(10));
        await cluster.InstanceAsync("outlives", "stops", instance => instance.Status is { State: InstanceState.Stopped, Exit.Signal: Linux.SignalTerminate }, Boot);
        await guests.DeleteLastAsync("outlives");
    }

    /// <summary>After the two seconds that <see cref="GuestCluster.Request"/> leaves it.</summary>
    private static async Task KilledAtItsStopAsync(LocalCluster cluster, string name)
    {
        await cluster.Compute.StopInstanceAsync(new StopInstanceRequest { Instance = name }, deadline: LocalCluster.Deadline(10));
        var stopped = await cluster.InstanceAsync(name, "stops", instance => instance.Status.State == InstanceState.Stopped && instance.Status.Exit is not null, Boot);
        Assert.Equal((128 + Linux.SignalKill, Linux.SignalKill), (stopped.Status.Exit.Code, stopped.Status.Exit.Signal));
        Assert.Empty(new Leftovers(cluster).Machines());
    }
}
