using CsCheck;
using Hypervisor.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Groups;

/// <summary>
/// Protects whoever runs a group: it gets the members it asks for, an update never takes more away than it may, and a template that does not run
/// leaves the members that do.
/// </summary>
public sealed class GroupPlannerTests
{
    private static readonly DateTimeOffset Start = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>
    /// Members as "phase revision": a = available, r = ready, u = unready, e = ended, l = lost, d = being deleted. What goes is named by its place.
    /// </summary>
    [Theory]
    [InlineData("empty group", 3, 1, 0, "", 3, "")]
    [InlineData("one was deleted", 3, 1, 0, "a1 a1 d1", 1, "")]
    [InlineData("all are there", 3, 1, 0, "a1 u1 r1", 0, "")]
    [InlineData("too many: the unready one goes", 2, 1, 0, "a1 u1 a1", 0, "1")]
    [InlineData("scaled to nothing", 0, 1, 0, "a1 a1", 0, "0 1")]
    [InlineData("one ended for good", 2, 1, 0, "a1 e1", 1, "1")]
    [InlineData("one is lost and not replaced yet", 2, 1, 0, "a1 l1", 1, "")]
    [InlineData("one is lost, and enough others are there", 2, 1, 0, "a1 l1 a1", 0, "1")]
    [InlineData("an update begins with the surge", 3, 1, 0, "a1 a1 a1", 1, "", 2)]
    [InlineData("and goes on when the new one is available", 3, 1, 0, "a1 a1 a1 a2", 0, "0", 2)]
    [InlineData("but not before", 3, 1, 0, "a1 a1 a1 r2", 0, "", 2)]
    [InlineData("without surge some go first", 3, 0, 1, "a1 a1 a1", 0, "0", 2)]
    [InlineData("and are made anew", 3, 0, 1, "a1 a1", 1, "", 2)]
    [InlineData("an update that does not run stands still", 3, 1, 0, "a1 a1 a1 u2", 0, "", 2)]
    [InlineData("also when one of the old ones is unready", 3, 1, 0, "a1 a1 u1 u2", 0, "", 2)]
    [InlineData("an unready old one goes when it is made up for", 3, 1, 1, "a1 a1 u1 u2", 0, "2", 2)]
    [InlineData("back to the old template: the new one goes", 3, 1, 0, "a1 a1 a1 u2", 0, "3", 1)]
    [InlineData("scaled down during an update", 1, 1, 0, "a1 a1 a1 u2", 0, "0 1", 2)]
    public void What_is_done(string when, int count, int surge, int unavailable, string members, int create, string delete, long revision = 1)
    {
        var there = members.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select((text, index) => new Member(new($"{index}"), text[1] - '0', PhaseOf(text[0]), $"n{index}", Start)).ToList();

        var plan = GroupPlanner.Decide(new(count, revision, surge, unavailable), there);

        Assert.True(create == plan.Create, $"{when}: {plan.Create} are made");
        Assert.Equal(delete.Split(' ', StringSplitOptions.RemoveEmptyEntries), plan.Delete.Select(id => id.Value).Order());
    }

    /// <summary>Protects: what was spread stays spread when a group gets smaller.</summary>
    [Fact]
    public void The_fullest_node_gives_first()
    {
        Member[] there = [On("a", "n1"), On("b", "n1"), On("c", "n1"), On("d", "n2"), On("e", "n3")];

        var plan = GroupPlanner.Decide(new(3, 1, 1, 0), there);

        var left = there.Where(member => !plan.Delete.Contains(member.Id)).Select(member => member.Node);
        Assert.Equal(["n1", "n2", "n3"], left.Order());

        static Member On(string uid, string node) => new(new(uid), 1, MemberPhase.Available, node, Start);
    }

    /// <summary>
    /// Protects: through any history of what members do and users ask for, there are never more present members than count and surge because of
    /// a plan, no plan takes availability below its limit, and when all goes well in the end the group is as asked.
    /// </summary>
    [Fact]
    public void Through_any_history_the_limits_hold_and_the_end_is_what_was_asked_for() =>
        Gen.Select(Gen.Int[0, 6], Gen.Int[0, 3], Gen.Int[0, 3], Gen.Int[0, 1_000_000].Array[0, 60]).Sample(
            (count, surge, unavailable, steps) =>
            {
                var world = new World(new(count, 1, surge == 0 && unavailable == 0 ? 1 : surge, unavailable));
                foreach (var step in steps)
                {
                    world.Happen(step);
                    world.Plan();
                }

                Assert.True(world.Settles(), "It never came to what was asked for.");
            },
            iter: 5_000);

    private static MemberPhase PhaseOf(char letter) => letter switch
    {
        'a' => MemberPhase.Available,
        'r' => MemberPhase.Ready,
        'u' => MemberPhase.Unready,
        'e' => MemberPhase.Ended,
        'l' => MemberPhase.Lost,
        _ => MemberPhase.Deleting,
    };

    private sealed class World(GroupTargets targets)
    {
        private readonly List<Member> _members = [];
        private GroupTargets _targets = targets;
        private int _made;

        public void Happen(int step)
        {
            var (what, which) = (step % 10, step / 10);
            switch (what)
            {
                case 0:
                    _targets = _targets with { Count = which % 7 };
                    break;
                case 1:
                    _targets = _targets with { Revision = 1 + (which % 4) };
                    break;
                case 2 when _members.Count > 0:
                    _members.RemoveAt(which % _members.Count);
                    break;
                case < 10 when _members.Count > 0:
                    var at = which % _members.Count;
                    _members[at] = _members[at] with { Phase = _members[at].Phase == MemberPhase.Deleting ? MemberPhase.Deleting : (MemberPhase)(which / 8 % 5) };
                    break;
            }
        }

        public bool Plan()
        {
            var available = Available();
            var plan = GroupPlanner.Decide(_targets, _members);
            foreach (var id in plan.Delete)
            {
                var at = _members.FindIndex(member => member.Id == id);
                _members[at] = _members[at] with { Phase = MemberPhase.Deleting };
            }

            Assert.True(Available() >= Math.Min(available, _targets.MinAvailable), $"{available} were available and {Available()} are, of {_targets}.");
            for (var index = 0; index < plan.Create; index++)
            {
                _members.Add(new(new($"{++_made:D4}"), _targets.Revision, MemberPhase.Unready, $"n{_made % 3}", Start.AddSeconds(_made)));
            }

            Assert.True(plan.Create == 0 || _members.Count(member => member.Present) <= _targets.Count + _targets.Surge, $"Too many of {_targets}.");
            return plan.Idle;
        }

        /// <summary>Whatever is there becomes available, and what is being deleted is gone.</summary>
        public bool Settles()
        {
            for (var round = 0; round < 50; round++)
            {
                _members.RemoveAll(member => member.Phase == MemberPhase.Deleting);
                for (var index = 0; index < _members.Count; index++)
                {
                    _members[index] = _members[index] with { Phase = MemberPhase.Available };
                }

                if (Plan())
                {
                    return _members.Count == _targets.Count && _members.TrueForAll(member => member.Revision == _targets.Revision);
                }
            }

            return false;
        }

        private int Available() => _members.Count(member => member.Phase == MemberPhase.Available);
    }
}
