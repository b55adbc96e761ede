using System.Text.RegularExpressions;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.ClusterTests.Scheduling;

/// <summary>
/// Protects: what a user says of where instances may be and had better be is what happens, from the words of the command line to the
/// processes on the machines, and who asks is told why.
/// </summary>
[Trait(StoreTrait.Name, StoreTrait.Either)]
public sealed class SchedulingTests(ThreeZones fixture) : IClassFixture<ThreeZones>, IAsyncLifetime
{
    private readonly CommandLine _ctl = new(fixture.Cluster);

    private LocalCluster Cluster => fixture.Cluster;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync() => await fixture.ClearAsync();

    /// <summary>Protects: a spread over zones holds also for instances that are created at the same time.</summary>
    [Fact]
    public async Task Six_instances_that_are_spread_over_three_zones_are_two_in_each()
    {
        string[] names = [.. Enumerable.Range(0, 6).Select(index => $"even-{index}")];
        await Task.WhenAll(names.Select(name => CreateAsync(name, "--label", "app=even", "--spread", "app=even@zone:1")));

        var nodes = await NodesOfAsync(names);

        Assert.Equal(["n1", "n1", "n2", "n2", "n3", "n3"], nodes.Order());
        Assert.Equal([2, 2, 2], Cluster.Machines.Select(machine => new Leftovers(machine).InstanceProcesses().Count));
    }

    /// <summary>Protects: no node ever has two instances that must be apart, and one that waits for a node gets the first that comes free.</summary>
    [Fact]
    public async Task Instances_that_must_be_apart_get_a_node_each_and_one_too_many_waits_for_one()
    {
        string[] apart = ["--label", "app=apart", "--anti-affinity", "app=apart"];
        string[] names = ["apart-0", "apart-1", "apart-2"];
        await Task.WhenAll(names.Select(name => CreateAsync(name, apart)));
        var nodes = await NodesOfAsync(names);
        Assert.Equal(["n1", "n2", "n3"], nodes.Order());

        await CreateAsync("apart-3", apart);
        await PendingAsync("apart-3", "NoFittingNode");
        var why = await WhyAsync("apart-3");
        Assert.Matches(Line("AntiAffinity +3 .*has an instance with app=apart already"), why);
        Assert.Contains("3 nodes: 3 have an instance with app=apart already", why, StringComparison.Ordinal);

        await _ctl.RunAsync("instance", "delete", names[1]);
        Assert.Equal(nodes[1], await NodeOfAsync("apart-3"));
    }

    /// <summary>Protects: an instance that belongs to others waits for them, and then is where they are, wherever that is.</summary>
    [Theory]
    [InlineData("a", "n1")]
    [InlineData("b", "n2")]
    [InlineData("c", "n3")]
    public async Task An_instance_follows_another_to_its_zone(string zone, string node)
    {
        var (leader, follower) = ($"leader-{zone}", $"follower-{zone}");
        await CreateAsync(follower, "--affinity", $"app={leader}@zone");
        await PendingAsync(follower, "NoFittingNode");
        Assert.Matches(Line($"Affinity +3 .*is in a zone without an instance with app={leader}"), await WhyAsync(follower));

        await CreateAsync(leader, "--label", $"app={leader}", "--zone", zone);

        Assert.Equal([node, node], await NodesOfAsync(leader, follower));
    }

    /// <summary>Protects: a tainted node is for those who say so only, for as long as it is tainted.</summary>
    [Fact]
    public async Task A_taint_keeps_away_what_does_not_tolerate_it_until_it_is_removed()
    {
        await _ctl.RunAsync("node", "taint", "n3", "gpu=a100:no-schedule");
        await CreateAsync("stranger", "--zone", "c");
        await CreateAsync("wanderer", "--preferred-node", "n3");
        await CreateAsync("guest", "--zone", "c", "--toleration", "gpu=a100:no-schedule");
        Assert.Equal("n3", await NodeOfAsync("guest"));
        Assert.NotEqual("n3", await NodeOfAsync("wanderer"));
        await PendingAsync("stranger", "NoFittingNode");
        Assert.Matches(Line("Taints +1 .*n3 has the taint gpu=a100:no-schedule"), await WhyAsync("stranger"));

        await _ctl.RunAsync("node", "taint", "n3", "gpu-");
        Assert.Equal("n3", await NodeOfAsync("stranger"));
    }

    /// <summary>Protects: a preference decides where there is a choice, and never keeps an instance from running.</summary>
    [Theory]
    [InlineData("--preferred-node", false)]
    [InlineData("--preferred-zone", true)]
    public async Task What_is_preferred_is_honoured_and_does_not_bind(string flag, bool isZone)
    {
        foreach (var (node, zone) in ThreeZones.Places)
        {
            var (preferred, liked, cordoned) = (isZone ? zone : node, $"liked-{zone}", $"cordoned-{zone}");
            await CreateAsync(liked, flag, preferred);
            Assert.Equal(node, await NodeOfAsync(liked));

            await _ctl.RunAsync("node", "cordon", node);
            await CreateAsync(cordoned, flag, preferred);
            Assert.NotEqual(node, await NodeOfAsync(cordoned));
            await _ctl.RunAsync("node", "uncordon", node);
        }
    }

    /// <summary>Protects: also of an instance that has its node one is told which others there were, and what was against each.</summary>
    [Fact]
    public async Task Why_shows_the_winner_those_it_was_preferred_to_and_how_many_each_filter_refused()
    {
        await _ctl.RunAsync("node", "cordon", "n3");
        await CreateAsync("chosen", "--preferred-zone", "b");
        Assert.Equal("n2", await NodeOfAsync("chosen"));
        var why = await WhyAsync("chosen");
        Assert.Contains("n2 is the best of 2 with room, of 3 nodes", why, StringComparison.Ordinal);
        Assert.Matches(Line("Node: +n2"), why);
        Assert.Matches(Line("Considered: +3 nodes"), why);
        Assert.Matches(Line("Scheduling +1.*"), why);
        Assert.Matches(new Regex(@"^CANDIDATE .*\nn2 +[0-9.]+ .*Preferred.*\nn1 +[0-9.]+ ", RegexOptions.Multiline), why);
        Assert.DoesNotMatch(new Regex("^n3 ", RegexOptions.Multiline), why);

        await _ctl.RunAsync("node", "taint", "n2", "gpu:no-schedule");
        await CreateAsync("only", "--preferred-zone", "b");
        Assert.Equal("n1", await NodeOfAsync("only"));
        why = await WhyAsync("only");
        Assert.Contains("n1 is the best of 1 with room, of 3 nodes", why, StringComparison.Ordinal);
        Assert.Matches(Line("Scheduling +1.*"), why);
        Assert.Matches(Line("Taints +1.*"), why);
        Assert.DoesNotMatch(new Regex("^n[23] ", RegexOptions.Multiline), why);

        // The first one's receipt is of its own time.
        Assert.Contains("n2 is the best of 2 with room, of 3 nodes", await WhyAsync("chosen"), StringComparison.Ordinal);
    }

    /// <summary>
    /// Protects: no placement ever leads to more than is allocatable (CapacitySafe), and less room than there was ends nothing that runs.
    /// </summary>
    [Fact]
    public async Task Overcommit_makes_room_and_taking_it_back_refuses_new_instances_and_leaves_the_old()
    {
        var machine = Cluster.Machines.Single(machine => machine.Hostname == "n3");
        var capacity = (await StatusAsync()).Allocatable.CpuMillicores;
        var each = capacity * 45 / 100;
        string[] size = ["--zone", "c", "--cpus", $"{each}m"];
        string[] names = [.. Enumerable.Range(0, 6).Select(index => $"room-{index}")];
        await using var placed = PlacedCpu.Follow(Cluster, "n3");

        await _ctl.RunAsync("node", "set", "n3", "--overcommit-cpu", "2");
        Assert.Equal(2 * capacity, (await StatusAsync()).Allocatable.CpuMillicores);
        await Task.WhenAll(names.Select(name => CreateAsync(name, size)));
        var decided = await Task.WhenAll(names.Select(name => Cluster.InstanceAsync(name, "is decided", IsDecided)));
        var old = decided.Where(instance => instance.Placement.Node.Length > 0).ToList();
        Assert.Equal(4, old.Count);
        Assert.Equal((4 * each, 4 * each), await placed.ReadAsync());
        Assert.Equal(4 * each, (await StatusAsync()).Allocated.CpuMillicores);
        var waiting = decided.First(instance => instance.Placement.Node.Length == 0);
        Assert.Matches(Line("Resources +1 .*n3 has .* of CPU free of the .* asked for"), await WhyAsync(waiting.Metadata.Name));
        var processes = old.ConvertAll(machine.ProcessOf);

        await _ctl.RunAsync("node", "set", "n3", "--overcommit-cpu", "1");
        Assert.Equal(capacity, (await StatusAsync()).Allocatable.CpuMillicores);
        await CreateAsync("room-late", size);
        await PendingAsync("room-late", "InsufficientResources");
        Assert.Equal((4 * each, 0), await placed.ReadAsync());
        await NodesOfAsync([.. old.Select(instance => instance.Metadata.Name)]);
        Assert.Equal(processes, old.ConvertAll(machine.ProcessOf));

        // Three have to go until there is room for one.
        foreach (var instance in old.Take(3))
        {
            Assert.Contains("would be created and stay pending", await _ctl.RunAsync(Create("room-try", [.. size, "--dry-run"])), StringComparison.Ordinal);
            await Cluster.DeleteAsync(instance.Metadata.Name);
        }

        await OneMoreIsPlacedAsync(2 * each);
        Assert.Equal(processes[3], machine.ProcessOf(old[3]));

        await _ctl.RunAsync("instance", "update", old[3].Metadata.Name, "--cpus", "10m");
        await OneMoreIsPlacedAsync((2 * each) + 10);

        static bool IsDecided(Instance instance) =>
            Instances.Settled(instance, InstanceState.Running) || instance.Placement is { Node: "", Reason: "InsufficientResources" };

        // Sooner than everything is looked at anyway.
        Task OneMoreIsPlacedAsync(long now) => RealTime.UntilAsync("one of those that wait is placed", TimeSpan.FromSeconds(15), async () =>
            await placed.ReadAsync() is (_, > 0) read
            && (read == (now, now) ? true : throw new InvalidOperationException($"{read} is placed of {capacity}, {each} each")));
    }

    private static string[] Create(string name, string[] flags) =>
    [
        "instance", "create", name, "--type", "container", "--image", "busybox", "--command", "sleep", "--command", "3600",
        "--memory", "32", "--stop-signal", "KILL", "--no-wait",
        .. flags.Contains("--cpus") ? flags : ["--cpus", "50m", .. flags],
    ];

    private Task<string> CreateAsync(string name, params string[] flags) => _ctl.RunAsync(Create(name, flags));

    /// <summary>Each as <see cref="NodeOfAsync"/>, in the same order.</summary>
    private Task<string[]> NodesOfAsync(params string[] names) => Task.WhenAll(names.Select(NodeOfAsync));

    /// <summary>Waits until it runs, and returns the node that has its process.</summary>
    private async Task<string> NodeOfAsync(string name)
    {
        var instance = await Cluster.RunningAsync(name);
        var machine = Cluster.Machines.Single(machine => Directory.Exists($"/sys/fs/cgroup/pids{machine.CgroupParent}/{instance.Metadata.Uid}"));
        Assert.Equal(machine.Hostname, instance.Placement.Node);
        Assert.True(machine.ProcessOf(instance) > 0);
        return machine.Hostname;
    }

    private async Task PendingAsync(string name, string reason)
    {
        var instance = await Cluster.InstanceAsync(name, "is refused", instance =>
            instance.Status.State == InstanceState.Pending && instance.Placement is { Reason.Length: > 0 });
        Assert.Equal((reason, ""), (instance.Placement.Reason, instance.Placement.Node));
    }

    private Task<string> WhyAsync(string name) => _ctl.RunAsync("instance", "why", name);

    private async Task<NodeStatus> StatusAsync() =>
        (await Cluster.Nodes.GetNodeAsync(new GetNodeRequest { Node = "n3" }, deadline: LocalCluster.Deadline(10))).Status;

    private static Regex Line(string pattern) => new($"^{pattern} *$", RegexOptions.Multiline);
}
