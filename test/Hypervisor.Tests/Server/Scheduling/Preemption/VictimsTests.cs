using CsCheck;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Scheduling;
using Hypervisor.Server.Scheduling.Preemption;
using Xunit;

namespace Hypervisor.Tests.Server.Scheduling.Preemption;

/// <summary>Protects: as few instances as possible lose their place, of the lowest priority, and nobody whose leaving helps nothing.</summary>
public sealed class VictimsTests
{
    [Fact]
    public void One_that_is_enough_leaves_alone()
    {
        Victim[] candidates = [Of("small-1", 0, 1), Of("small-2", 0, 1), Of("large", 5, 2)];
        Assert.Equal(["large"], Chosen(new(0, 2, 0), candidates));
    }

    [Fact]
    public void Of_equals_the_lowest_priority_and_then_who_stops_soonest_leaves()
    {
        Victim[] candidates = [Of("a", 5, 2), Of("b", 1, 2, grace: 30), Of("c", 1, 2, grace: 5)];
        Assert.Equal(["c"], Chosen(new(0, 2, 0), candidates));
    }

    [Fact]
    public void Where_all_together_are_not_enough_nobody_leaves() =>
        Assert.Null(Victims.Choose(new(0, 5, 0), default, [], [Of("a", 0, 2), Of("b", 0, 2)]));

    [Fact]
    public void Where_nothing_is_missing_nobody_has_to_leave() => Assert.Empty(Chosen(new(-1, 0, -5), [Of("a", 0, 2)])!);

    [Fact]
    public void Who_holds_a_port_that_is_needed_leaves_and_may_be_enough()
    {
        var port = PortClaim.Of(new PublishedPort { HostPort = 80, InstancePort = 80 });
        Victim[] candidates = [Of("large", 0, 4), Of("web", 1, 2) with { Ports = [port] }];

        Assert.Equal(["web"], Victims.Choose(new(0, 2, 0), default, [port], candidates)!.Select(victim => victim.Uid));
        Assert.Null(Victims.Choose(new(0, 2, 0), default, [port], candidates[..1]));
    }

    [Fact]
    public void For_devices_those_leave_who_have_enough_of_them()
    {
        Victim[] candidates =
        [
            Of("large", 0, 8),
            Of("one", 1, 1) with { Devices = Nodes.Devices(("gpu", 1)) },
            Of("two", 5, 1) with { Devices = Nodes.Devices(("gpu", 2)) },
            Of("nic", 0, 1) with { Devices = Nodes.Devices(("nic", 4)) },
        ];

        Assert.Equal(["one"], Chosen(default, candidates, ("gpu", 1)));
        Assert.Equal(["two"], Chosen(default, candidates, ("gpu", 2)));
        Assert.Equal(["one", "two"], Chosen(default, candidates, ("gpu", 3))!.Order(StringComparer.Ordinal));
        Assert.Null(Chosen(default, candidates, ("gpu", 4)));
        Assert.Equal(["large", "one"], Chosen(new(0, 8, 0), candidates, ("gpu", 1))!.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Fewer_is_better_than_lower_and_lower_than_sooner()
    {
        IReadOnlyList<Victim> two = [Of("a", 0, 1), Of("b", 0, 1)];
        IReadOnlyList<Victim> one = [Of("c", 9, 1, grace: 60)];
        IReadOnlyList<Victim> lower = [Of("d", 8, 1, grace: 90)];

        Assert.True(Victims.Compare(one, two) < 0);
        Assert.True(Victims.Compare(lower, one) < 0);
        Assert.True(Victims.Compare([], lower) < 0);
    }

    /// <summary>Against trying every set: it is found whenever there is one, is enough, has nobody to spare, and is alone where one is enough.</summary>
    [Fact]
    public void What_is_chosen_is_enough_and_has_nobody_to_spare() =>
        Gen.Select(
            Gen.Select(Gen.Int[0, 8], Gen.Int[0, 8], (cpu, memory) => new ResourceAmount(cpu, memory, 0)),
            Gen.Int[0, 3].Select(gpus => Nodes.Devices(("gpu", gpus))),
            Gen.Select(Gen.Int[0, 3], Gen.Int[0, 3], Gen.Int[0, 2], Gen.Int[0, 2], (cpu, memory, gpus, priority) => (new ResourceAmount(cpu, memory, 0), gpus, priority)).List[0, 8])
            .Sample((amount, devices, amounts) =>
            {
                var lack = (amount, devices);
                Victim[] candidates =
                [
                    .. amounts.Select((each, index) => new Victim($"v{index}", each.priority, each.Item1, [], TimeSpan.Zero) { Devices = Nodes.Devices(("gpu", each.gpus)) }),
                ];
                var chosen = Victims.Choose(amount, devices, [], candidates);
                Assert.Equal(IsEnough(lack, candidates), chosen is not null);
                if (chosen is null)
                {
                    return;
                }

                Assert.True(IsEnough(lack, chosen));
                Assert.All(chosen, spared => Assert.False(IsEnough(lack, [.. chosen.Where(victim => victim != spared)])));
                Assert.True(chosen.Count <= 1 || !candidates.Any(victim => IsEnough(lack, [victim])));
            });

    private static bool IsEnough((ResourceAmount Amount, DeviceAmounts Devices) lack, IReadOnlyList<Victim> victims)
    {
        var left = victims.Aggregate(lack.Amount, static (left, victim) => left - victim.Amount);
        return left is { CpuMillicores: <= 0, MemoryBytes: <= 0, DiskBytes: <= 0 }
            && lack.Devices.FitsIn(victims.Aggregate(default(DeviceAmounts), static (sum, victim) => sum + victim.Devices));
    }

    private static IEnumerable<string>? Chosen(ResourceAmount lack, Victim[] candidates, params (string Name, int Count)[] devices) =>
        Victims.Choose(lack, Nodes.Devices(devices), [], candidates)?.Select(victim => victim.Uid);

    private static Victim Of(string uid, int priority, long memory, int grace = 10) => new(uid, priority, new(0, memory, 0), [], TimeSpan.FromSeconds(grace));
}
