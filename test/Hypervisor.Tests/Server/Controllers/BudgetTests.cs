using Hypervisor.Server.Controllers;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Controllers;

/// <summary>Protects: a disruption budget holds for all who disturb a group at once, before any view shows what the others are about to do.</summary>
public sealed class BudgetTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Two_moves_of_one_group_do_not_both_begin_where_one_may()
    {
        await using var world = await GroupWorld.StartAsync(nodes: 1);
        await world.CreateAsync("web", 2, spec => spec.Disruption = new() { MaxUnavailable = 1 });
        await world.RollAsync("web", rounds: 2);
        await world.Plane.ReadyNodeAsync("other", Token);
        var view = await world.Plane.ViewAsync(Token);
        var members = view.MembersOf(view.GroupByName("default", "web")!).ToList();
        var (term, placer) = (world.Term, world.Plane.Placer);

        Assert.Equal("other", placer.ClaimElsewhere(term, members[0]));
        Assert.Null(placer.ClaimElsewhere(term, members[1]));

        // The first did not come about.
        Placer.Unclaim(term, members[0].Id);
        Assert.Equal("other", placer.ClaimElsewhere(term, members[1]));
    }
}
