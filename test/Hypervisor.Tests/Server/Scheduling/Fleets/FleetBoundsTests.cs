using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Fleets;
using Xunit;
using static Hypervisor.Tests.Server.Scheduling.Nodes;

namespace Hypervisor.Tests.Server.Scheduling.Fleets;

/// <summary>Protects: whatever users select, label and name, what the fleet keeps is bounded, and others are served as before.</summary>
public sealed class FleetBoundsTests
{
    [Fact]
    public void Ten_thousand_labels_selectors_and_kinds_of_places_are_not_kept()
    {
        var (fleet, classes) = New(nodes: 50);
        for (var index = 0; index < 10_000; index++)
        {
            var request = Asking(index, constraints =>
            {
                constraints.AntiAffinity.Add(new AffinityTerm { Selector = $"k{index}=v", Topology = $"t{index}" });
                constraints.Spread.Add(new SpreadConstraint { Selector = $"k{index}", Topology = $"u{index}", Preferred = true });
            });
            Assert.True(classes.Of(request).Decide(fleet, classes).First >= 0);
        }

        Assert.InRange(classes.Count, 1, 1024);
        Assert.InRange(classes.ShapeCount, 1, 1024);
        Assert.InRange(fleet.Neighbours.Counters.Count, 1, 2 * 1024);
        Assert.InRange(fleet.Neighbours.Topologies.Count, 1, 2 * 1024);
    }

    [Fact]
    public void What_must_be_apart_from_everything_does_not_keep_other_projects_out()
    {
        var (fleet, classes) = New(nodes: 3);
        var hermit = classes.Of(Asking(1, constraints => constraints.AntiAffinity.Add(new AffinityTerm { Selector = "nothing!=ever", Topology = "region" })));
        var where = hermit.Decide(fleet, classes).First;
        fleet.Reserve(new("hermit"), new(fleet.NodeAt(where)!.Id, default, hermit.Kind, []));

        Assert.Equal(-1, classes.Of(Asking(2)).Decide(fleet, classes).First);
        Assert.True(classes.Of(Asking(2) with { Project = "another" }).Decide(fleet, classes).First >= 0);
    }

    /// <summary>Where something fits does not depend on how fast it may be: one class for both.</summary>
    [Fact]
    public void Rates_make_no_class_of_their_own()
    {
        var (plain, limited) = (new InstanceSpec { Type = InstanceType.Container }, new InstanceSpec { Type = InstanceType.Container });
        limited.DiskRates = new() { ReadBytesPerSecond = 65536 };
        limited.Network = new() { Rates = new() { ReceiveBytesPerSecond = 65536 } };

        Assert.Equal(Key(plain), Key(limited));

        static string Key(InstanceSpec spec) => RequestClasses.KeyOf(PlacementRequest.Of(new("i"), "p", new Dictionary<string, string>(), spec, PlacementStrategy.Spread));
    }

    /// <summary>Counts that were forgotten while instances stayed are right when they are asked for again.</summary>
    [Fact]
    public void What_was_forgotten_is_counted_anew()
    {
        var (fleet, classes) = New(nodes: 2);
        var apart = Asking(1, constraints => constraints.AntiAffinity.Add(new AffinityTerm { Selector = "k1=v" }));
        for (var instance = 0; instance < 2; instance++)
        {
            var asked = classes.Of(apart);
            var row = asked.Decide(fleet, classes).First;
            fleet.Reserve(new($"i{instance}"), new(fleet.NodeAt(row)!.Id, apart.Reserve, asked.Kind, []));
        }

        for (var index = 100; index < 3_000; index++)
        {
            classes.Of(Asking(index)).Decide(fleet, classes);
        }

        Assert.Equal(-1, classes.Of(apart).Decide(fleet, classes).First);
        fleet.Unreserve(new("i0"));
        Assert.True(classes.Of(apart).Decide(fleet, classes).First >= 0);
    }

    /// <summary>What shapes know of rows lies side by side, and the place of one that is forgotten is another's: whoever still holds the class must not see that.</summary>
    [Fact]
    public void A_class_that_was_forgotten_while_somebody_held_it_decides_as_before()
    {
        var (fleet, classes) = New(nodes: 2);
        var held = classes.Of(Sized(1));
        held.Decide(fleet, classes);
        for (var index = 2; index < 3_000; index++)
        {
            // None of these fits anywhere.
            Assert.Equal(-1, classes.Of(Sized(index, memoryBytes: 1L << 60)).Decide(fleet, classes).First);
        }

        Assert.DoesNotContain(held.Shape!.States.Block.Cells, cell => cell == RowStates.Sorted);
        for (var instance = 0; instance < 4; instance++)
        {
            var row = held.Decide(fleet, classes).First;
            Assert.True(held.Takes(row));
            fleet.Reserve(new($"i{instance}"), new(fleet.NodeAt(row)!.Id, held.Request.Reserve, held.Kind, []));
        }

        Assert.Equal([2, 2], [fleet.Row(0).Instances, fleet.Row(1).Instances]);
        Assert.Equal(-1, classes.Of(Sized(5_000, memoryBytes: 1L << 60)).Decide(fleet, classes).First);
    }

    private static PlacementRequest Sized(int cpu, long memoryBytes = 1) => Asking(0) with { Reserve = new(cpu, memoryBytes, 0) };

    private static (Fleet Fleet, RequestClasses Classes) New(int nodes)
    {
        var fleet = new Fleet();
        for (var index = 0; index < nodes; index++)
        {
            fleet.Describe(new(Node($"n{index}", region: "eu", zone: $"z{index % 3}"), (1, 0, 0)));
        }

        return (fleet, new(fleet));
    }

    private static PlacementRequest Asking(int index, Action<PlacementConstraints>? constrain = null)
    {
        var constraints = new PlacementConstraints();
        constrain?.Invoke(constraints);
        var spec = new InstanceSpec { Type = InstanceType.Container, Resources = new() { CpuMillicores = 1, MemoryBytes = 1 }, Constraints = constraints };
        return PlacementRequest.Of(new("i"), "p", new Dictionary<string, string> { [$"k{index}"] = "v" }, spec, PlacementStrategy.Spread);
    }
}
