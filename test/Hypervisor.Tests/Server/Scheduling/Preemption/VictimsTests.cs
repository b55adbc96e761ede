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
        Assert.Null(Victims.Choose(new(0, 5, 0), [], [Of("a", 0, 2), Of("b", 0, 2)]));

    [Fact]
    public void Where_nothing_is_missing_nobody_has_to_leave() => Assert.Empty(Chosen(new(-1, 0, -5), [Of("a", 0, 2)])!);

    [Fact]
    public void Who_holds_a_port_that_is_needed_leaves_and_may_be_enough()
    {
        var port = PortClaim.Of(new PublishedPort { HostPort = 80, InstancePort = 80 });
        Victim[] candidates = [Of("large", 0, 4), Of("web", 1, 2) with { Ports = [port] }];

        Assert.Equal(["web"], Victims.Choose(new(0, 2, 0), [port], candidates)!.Select(victim => victim.Uid));
        Assert.Null(Victims.Choose(new(0, 2, 0), [port], candidates[..1]));
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
            Gen.Select(Gen.Int[0, 3], Gen.Int[0, 3], Gen.Int[0, 2], (cpu, memory, priority) => (new ResourceAmount(cpu, memory, 0), priority)).List[0, 8])
            .Sample((lack, amounts) =>
            {
                Victim[] candidates = [.. amounts.Select((amount, index) => new Victim($"v{index}", amount.priority, amount.Item1, [], TimeSpan.Zero))];
                var chosen = Victims.Choose(lack, [], candidates);
                Assert.Equal(IsEnough(lack, candidates), chosen is not null);
                if (chosen is null)
                {
                    return;
                }

                Assert.True(IsEnough(lack, chosen));
                Assert.All(chosen, spared => Assert.False(IsEnough(lack, [.. chosen.Where(victim => victim != spared)])));
                Assert.True(chosen.Count <= 1 || !candidates.Any(victim => IsEnough(lack, [victim])));
            });

    private static bool IsEnough(ResourceAmount lack, IReadOnlyList<Victim> victims)
    {
        var left = victims.Aggregate(lack, static (left, victim) => left - victim.Amount);
        return left is { CpuMillicores: <= 0, MemoryBytes: <= 0, DiskBytes: <= 0 };
    }

    private static IEnumerable<string>? Chosen(ResourceAmount lack, Victim[] candidates) => Victims.Choose(lack, [], candidates)?.Select(victim => victim.Uid);

    private static Victim Of(string uid, int priority, long memory, int grace = 10) => new(uid, priority, new(0, memory, 0), [], TimeSpan.FromSeconds(grace));
}
