using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>
/// Protects: a group is what its user says, from the words of the command line to the processes on the machines, and an update that goes wrong
/// takes nothing away.
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class GroupTests(ThreeZones fixture) : IClassFixture<ThreeZones>, IAsyncLifetime
{
    private readonly CommandLine _ctl = new(fixture.Cluster);

    private LocalCluster Cluster => fixture.Cluster;

    private GroupService.GroupServiceClient Groups => new(Cluster.Channel);

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        var left = await Groups.ListGroupsAsync(new ListGroupsRequest(), deadline: LocalCluster.Deadline(10));
        await Task.WhenAll(left.Groups.Select(group => _ctl.RunAsync("group", "delete", group.Metadata.Name)));
        await fixture.ClearAsync();
    }

    /// <summary>Protects: members are spread, made and removed as the count says, and one that a user deletes is made again.</summary>
    [Fact]
    public async Task A_group_is_spread_over_zones_scaled_and_heals_and_leaves_nothing()
    {
        await using var watch = _ctl.Start("group", "list", "--watch");
        await watch.UntilAsync("READY");
        Assert.Equal("web created: 3 of 3 members ready\n", await _ctl.RunAsync(Create("web", "--count", "3", "--spread", "@zone")));
        Assert.Equal(["n1", "n2", "n3"], (await MembersAsync("web")).Select(member => member.Placement.Node).Order());
        Assert.Equal([1, 1, 1], Processes());

        Assert.Equal("web scaled: 6 of 6 members ready\n", await _ctl.RunAsync("group", "scale", "web", "--count", "6"));
        Assert.Equal([2, 2, 2], Processes());
        var why = await _ctl.RunAsync("group", "why", "web");
        Assert.Contains("6 of 6 members: 6 on 3 nodes, 6 ready", why, StringComparison.Ordinal);
        Assert.Matches(new Regex("^n2 +here/b +2 *$", RegexOptions.Multiline), why);

        var first = (await MembersAsync("web"))[0];
        await _ctl.RunAsync("instance", "delete", first.Metadata.Name);
        await ReadyAsync("web", 6);
        Assert.DoesNotContain(await MembersAsync("web"), member => member.Metadata.Uid == first.Metadata.Uid);

        Assert.Contains("web scaled: 3 of 3 members ready", await _ctl.RunAsync("group", "scale", "web", "--count", "3"), StringComparison.Ordinal);
        Assert.Equal(["n1", "n2", "n3"], (await MembersAsync("web")).Select(member => member.Placement.Node).Order());

        await watch.UntilAsync("6/6");
        Assert.Equal("web deleted\n", await _ctl.RunAsync("group", "delete", "web"));
        await fixture.ClearAsync();
        Assert.Equal([0, 0, 0], Processes());
        await watch.UntilAsync("DELETED");
    }

    /// <summary>Protects: during an update as many run as its limits say, and in the end all run what was asked for.</summary>
    [Fact]
    public async Task A_rolling_update_replaces_all_members_and_one_that_does_not_run_is_rolled_back()
    {
        await _ctl.RunAsync(Create("app", "--count", "3", "--max-surge", "1", "--min-ready", "1s", "--progress-deadline", "15s"));
        var old = await MembersAsync("app");
        using var stop = new CancellationTokenSource();
        var fewest = FewestReadyAsync("app", stop.Token);

        // The last of the old ones may be on its way out still.
        Assert.StartsWith("app updated: 3 of 3 members ready", await _ctl.RunAsync("group", "update", "app", "--env", "MODE=second"), StringComparison.Ordinal);
        await stop.CancelAsync();
        Assert.Equal(3, await fewest);
        var second = await MembersAsync("app");
        Assert.Empty(second.Select(member => member.Metadata.Uid).Intersect(old.Select(member => member.Metadata.Uid)));
        Assert.All(second, member => Assert.Equal(("MODE", "second"), (member.Spec.Process.Env[0].Name, member.Spec.Process.Env[0].Value)));

        var (exitCode, _, error) = await _ctl.TryRunAsync("group", "update", "app", "--command", "/no/such/program");
        Assert.Equal(1, exitCode);
        Assert.Contains("app does not get on (Stalled: No member became available for 15 s; app-", error, StringComparison.Ordinal);
        Assert.Equal(3, (await MembersAsync("app")).Count(member => member.Status.State == InstanceState.Running));

        Assert.StartsWith("app rolled back: 3 of 3 members ready", await _ctl.RunAsync("group", "rollback", "app"), StringComparison.Ordinal);
        Assert.Equal(second.Select(member => member.Metadata.Uid).Order(), (await MembersAsync("app")).Select(member => member.Metadata.Uid).Order());
        Assert.Matches(new Regex("^2 +3 ", RegexOptions.Multiline), await _ctl.RunAsync("group", "history", "app"));
        await RealTime.UntilAsync("the events tell of it", TimeSpan.FromSeconds(15), async () =>
            (await _ctl.RunAsync("events", "--group", "app")).Contains("Stalled", StringComparison.Ordinal));
    }

    /// <summary>Protects: of what has to be together nothing runs alone, and it all runs when there is room.</summary>
    [Fact]
    public async Task Of_a_gang_that_does_not_fit_nothing_is_placed_and_all_of_it_when_it_does()
    {
        await _ctl.RunAsync("node", "cordon", "n3");
        var (exitCode, _, error) = await _ctl.TryRunAsync(Create("gang", "--count", "3", "--gang", "--anti-affinity", "@node"));
        Assert.Equal(1, exitCode);
        Assert.Contains("gang does not get on (GangDoesNotFit: Of 3 members that need a node at once 2 find one; the next: 3 nodes: ", error, StringComparison.Ordinal);
        Assert.Contains("1 is cordoned", error, StringComparison.Ordinal);
        Assert.Empty(await MembersAsync("gang"));
        Assert.Equal([0, 0, 0], Processes());

        await _ctl.RunAsync("node", "uncordon", "n3");
        await ReadyAsync("gang", 3);
        Assert.Equal([1, 1, 1], Processes());
    }

    /// <summary>Protects: for a gang those of a lower priority are stopped and gone before any of it runs, and none is stopped where only a part would run.</summary>
    [Fact]
    public async Task Others_make_room_for_all_of_a_gang_or_for_none_of_it()
    {
        var most = (await Cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n1" }, deadline: LocalCluster.Deadline(10))).Status.Allocatable.CpuMillicores;
        await Task.WhenAll(
            FillAsync("low-1", "a", "low"), FillAsync("low-2", "b", "low"), FillAsync("high", "c", "critical"));
        var low = await Task.WhenAll(Cluster.RunningAsync("low-1"), Cluster.RunningAsync("low-2"));
        await Cluster.RunningAsync("high");
        await using var placed = PlacedCpu.Follow(Cluster, "n1");
        string[] gang = Create("gang", "--count", "3", "--gang", "--priority", "high", "--anti-affinity", "@node", "--cpus", $"{most / 2}m");

        var (exitCode, _, error) = await _ctl.TryRunAsync(gang);
        Assert.Equal(1, exitCode);
        Assert.Contains("gang does not get on (GangDoesNotFit: Of 3 members that need a node at once 2 find one; the next: ", error, StringComparison.Ordinal);
        Assert.Equal(
            low.Select(instance => instance.Placement.Epoch),
            (await Task.WhenAll(Cluster.RunningAsync("low-1"), Cluster.RunningAsync("low-2"))).Select(instance => instance.Placement.Epoch));
        Assert.Equal([1, 1, 1], Processes());

        await Cluster.DeleteAsync("high");
        await ReadyAsync("gang", 3);
        var members = await MembersAsync("gang");
        Assert.Equal(["n1", "n2", "n3"], members.Select(member => member.Placement.Node).Order());
        Assert.Equal([1, 1, 1], Processes());
        foreach (var name in new[] { "low-1", "low-2" })
        {
            await Cluster.InstanceAsync(name, "waits", instance => instance is { Status.State: InstanceState.Pending, Placement.Reason: "InsufficientResources" });
        }

        Assert.InRange((await placed.ReadAsync()).Highest, 1, most);
        await RealTime.UntilAsync("the events tell of it", TimeSpan.FromSeconds(15), async () =>
            (await _ctl.RunAsync("events", "--group", "gang")).Contains("GangWaitsForRoom", StringComparison.Ordinal));

        await _ctl.RunAsync("group", "delete", "gang");
        await Task.WhenAll(Cluster.RunningAsync("low-1"), Cluster.RunningAsync("low-2"));

        Task<string> FillAsync(string name, string zone, string priority) => _ctl.RunAsync(
            "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600",
            "--memory", "32", "--stop-signal", "KILL", "--no-wait", "--zone", zone, "--cpus", $"{most * 8 / 10}m", "--priority", priority);
    }

    private static string[] Create(string name, params string[] flags) =>
    [
        "group", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600", "--memory", "32", "--stop-signal", "KILL",
        .. flags.Contains("--cpus") ? flags : ["--cpus", "50m", .. flags],
    ];

    private List<int> Processes() => [.. Cluster.Machines.Select(machine => new Leftovers(machine).InstanceProcesses().Count)];

    /// <summary>Those that are not being deleted.</summary>
    private async Task<List<Instance>> MembersAsync(string group)
    {
        var request = new ListInstancesRequest { LabelSelector = $"hypervisor.zixiao/group={group}" };
        var list = await Cluster.Compute.ListInstancesAsync(request, deadline: LocalCluster.Deadline(10));
        return [.. list.Instances.Where(instance => instance.Metadata.DeletedAt is null)];
    }

    private Task ReadyAsync(string group, int count) => RealTime.UntilAsync($"{group} has {count} ready members", TimeSpan.FromSeconds(60), async () =>
    {
        var status = (await Groups.GetGroupAsync(new GetGroupRequest { Group = group }, deadline: LocalCluster.Deadline(10))).Status;
        return status.Ready == count && status.Current == count;
    });

    /// <summary>Until it is told to stop.</summary>
    private async Task<int> FewestReadyAsync(string group, CancellationToken stop)
    {
        var fewest = int.MaxValue;
        while (!stop.IsCancellationRequested)
        {
            var status = (await Groups.GetGroupAsync(new GetGroupRequest { Group = group }, deadline: LocalCluster.Deadline(10), cancellationToken: CancellationToken.None)).Status;
            fewest = Math.Min(fewest, status.Ready);
        }

        return fewest;
    }
}
