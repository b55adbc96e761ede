using Hypervisor.Bench.Fleets;
using Hypervisor.Bench.Replays;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Xunit;

namespace Hypervisor.Tests.Bench.Replays;

/// <summary>Protects what is planned by replays: on traces small enough to be counted by hand they say what a person finds.</summary>
public sealed class ReplayTests
{
    private const long GiB = 1L << 30;

    private static readonly NodePool _pool = new() { Cpus = 4, MemoryBytes = 8 * GiB };

    private int _instances;

    [Fact]
    public void Packed_instances_leave_room_for_a_large_one_and_spread_ones_do_not()
    {
        var trace = new DemandTrace([Create(0, 1, 2), Create(0, 1, 2), Create(10, 4, 8)]);

        var binpack = Run(trace, PlacementStrategy.Binpack);
        var spread = Run(trace, PlacementStrategy.Spread);

        Assert.Equal((3, 0), (binpack.Placed, binpack.Unplaced));
        Assert.Equal((2, 1), (spread.Placed, spread.Unplaced));
        Assert.Equal(1, spread.PendingPeak);
        Assert.Equal(0.75, binpack.CpuPeak);
        Assert.Equal(0.25, spread.CpuPeak);
        Assert.True(binpack.EmptyNodes > spread.EmptyNodes);
    }

    [Fact]
    public void What_waits_is_placed_when_something_leaves_and_its_wait_is_told()
    {
        var (first, second) = (Create(0, 4, 8), Create(5, 4, 8));
        var third = Create(7, 4, 8);

        var result = Run(new([first, second, third, Delete(20, first)]), PlacementStrategy.Spread);

        Assert.Equal((3, 0), (result.Placed, result.Unplaced));
        Assert.Equal(TimeSpan.FromSeconds(13), result.WaitP99);
    }

    [Fact]
    public void What_is_deleted_while_it_waits_was_never_placed()
    {
        var (first, second, third) = (Create(0, 4, 8), Create(0, 4, 8), Create(1, 4, 8));

        var result = Run(new([first, second, third, Delete(2, third), Delete(3, first)]), PlacementStrategy.Spread);

        Assert.Equal((2, 1), (result.Placed, result.Unplaced));
    }

    [Fact]
    public void Overcommit_makes_room_and_shares_are_of_the_machines()
    {
        var trace = new DemandTrace([.. Enumerable.Range(0, 4).Select(_ => Create(0, 4, 1))]);

        var result = Run(trace, PlacementStrategy.Spread, overcommitCpu: 2);

        Assert.Equal((4, 0), (result.Placed, result.Unplaced));
        Assert.Equal(2, result.CpuPeak);
        Assert.Equal("spread_cpu2", result.Settings.Name);
    }

    [Fact]
    public void Room_in_pieces_too_small_for_what_is_typically_asked_is_fragmented()
    {
        // 3 of 4 CPUs are taken on each of two nodes: 2 CPUs are left, and not one of the typical 2.
        var small = Enumerable.Range(0, 2).Select(_ => Create(0, 3, 1)).ToList();
        List<DemandEvent> typical = [.. Enumerable.Range(0, 5).Select(_ => Create(0, 2, 1))];

        var result = Run(new([.. small, .. typical]), PlacementStrategy.Spread);

        Assert.Equal((2, 5), (result.Placed, result.Unplaced));
        Assert.Equal(1, result.Fragmentation);
    }

    [Fact]
    public void The_same_trace_gives_the_same_result_again_and_the_report_has_a_line_for_each()
    {
        var trace = DemandTraceReader.LoadFile(Path.Combine(LocalCluster.Repository, "configs/demand.example.jsonl"));
        var nodes = FleetScriptLoader.LoadFile(Path.Combine(LocalCluster.Repository, "configs/fleet.example.yaml")).Nodes(4, "sim");
        var output = new StringWriter();

        ReplayReport.Print(output, [Of(PlacementStrategy.Binpack), Of(PlacementStrategy.Spread)]);
        var again = new StringWriter();
        ReplayReport.Print(again, [Of(PlacementStrategy.Binpack), Of(PlacementStrategy.Spread)]);

        Assert.Equal(output.ToString(), again.ToString());
        var lines = output.ToString().Split('\n');
        Assert.StartsWith("SETTINGS   PLACED   UNPLACED   PENDING PEAK", lines[0]);
        Assert.StartsWith("binpack    10 ", lines[1]);
        Assert.Contains("metric replay.binpack.placed 10 instances", lines);
        Assert.Contains("metric replay.spread.unplaced 0 instances", lines);

        ReplayResult Of(PlacementStrategy strategy) => new Replay(trace, nodes, new(strategy, 1, 1)).Run();
    }

    private static ReplayResult Run(DemandTrace trace, PlacementStrategy strategy, double overcommitCpu = 1) =>
        new Replay(trace, new FleetScript { Pools = [_pool] }.Nodes(2, "n"), new(strategy, overcommitCpu, 1)).Run();

    private DemandEvent Create(int at, int cpus, int gib) => new(TimeSpan.FromSeconds(at), _instances++, new("default", new Dictionary<string, string>(), new()
    {
        Type = InstanceType.Container,
        Resources = new() { CpuMillicores = cpus * 1000, MemoryBytes = gib * GiB },
    }));

    private static DemandEvent Delete(int at, DemandEvent created) => new(TimeSpan.FromSeconds(at), created.Instance, null);
}
