using Hypervisor.TestCluster.Histories;
using Xunit;
using static Hypervisor.TestCluster.Histories.WatchStepKind;

namespace Hypervisor.Tests.Proof;

/// <summary>Protects: the checker of watches, lists and revisions refuses what is not exactly the store's history.</summary>
public sealed class WatchCheckTests
{
    private static readonly ObjectHistory History = new ObjectHistory()
        .Add(2, new ObjectChange("u1", "a"))
        .Add(3, new ObjectChange("u2", "b"))
        .Add(5, new ObjectChange("u1", "c"), new ObjectChange("u2", "d"))
        .Add(6, new ObjectChange("u1", null))
        .Add(8, new ObjectChange("u2", "e"));

    private static readonly WatchStep[] Exact =
    [
        new(Begun, 0),
        Listed("u1", "a", 2),
        Listed("u2", "b", 3),
        new(Bookmark, 4),
        Event(Modified, "u1", "c", 5, position: 4),
        Event(Modified, "u2", "d", 5, position: 5),
        Event(Deleted, "u1", "", 6, position: 6),
        Event(Modified, "u2", "e", 8, position: 8),
        new(Bookmark, 9),
    ];

    [Fact]
    public void An_exact_watch_is_right() => Right(Exact);

    [Fact]
    public void A_call_that_broke_within_a_revision_gets_the_whole_of_it_again() => Right([.. Exact[..5], new(Begun, 4), .. Exact[4..]]);

    [Fact]
    public void A_call_that_broke_before_the_list_was_complete_begins_anew() => Right([.. Exact[..2], .. Exact]);

    [Fact]
    public void A_resumed_call_goes_on_after_its_position() => Right([.. Exact[..6], new(Begun, 5), .. Exact[6..]]);

    [Fact]
    public void A_gap_is_found() => Wrong([.. Exact[..6], .. Exact[7..]], "expected Told { Kind = Deleted, Uid = u1");

    [Fact]
    public void A_gap_at_the_end_is_found_by_the_bookmark() => Wrong([.. Exact[..7], Exact[8]], "was not delivered");

    [Fact]
    public void A_gap_between_two_calls_is_found() => Wrong(
        [.. Exact[..6], new(Begun, 5), .. Exact[7..]], "expected Told { Kind = Deleted");

    [Fact]
    public void A_duplicate_is_found() => Wrong(
        [.. Exact[..7], Exact[6], .. Exact[7..]], "expected Told { Kind = Modified, Uid = u2, Value = e");

    [Fact]
    public void A_duplicate_at_the_end_is_found() => Wrong([.. Exact[..8], Exact[7]], "the store has no such change");

    [Fact]
    public void A_reordering_is_found() => Wrong([.. Exact[..6], Exact[7], Exact[6], Exact[8]], "expected Told { Kind = Deleted");

    [Fact]
    public void A_wrong_value_is_found() => Wrong([.. Exact[..7], Event(Modified, "u2", "z", 8, position: 8), Exact[8]], "expected Told");

    [Fact]
    public void An_added_that_is_a_change_is_found() => Wrong(
        [.. Exact[..7], Event(Added, "u2", "e", 8, position: 8), Exact[8]], "expected Told");

    [Fact]
    public void A_position_within_a_revision_is_found() => Wrong(
        [.. Exact[..4], Event(Modified, "u1", "c", 5, position: 5), .. Exact[5..]], "would lose a part of revision 5");

    [Fact]
    public void A_position_that_goes_back_is_found() => Wrong([.. Exact, new(Bookmark, 7)], "the position was 9");

    [Fact]
    public void A_list_that_is_not_the_state_at_its_revision_is_found() => Wrong(
        [Exact[0], Listed("u1", "a", 2), .. Exact[3..]], "u2 was b@3 and listed as absent");

    [Fact]
    public void A_watch_that_stands_still_is_found() => Wrong(Exact[..6], "the watch came to 5 and not to 8");

    [Fact]
    public void A_resync_without_compaction_is_found() => Wrong([.. Exact, new(Resync, 9)], "nothing was compacted");

    [Fact]
    public void A_list_equals_the_history_at_its_revision()
    {
        Assert.Null(History.ListViolation(6, new Dictionary<string, ObjectState> { ["u2"] = new("d", 5) }));
        Assert.Null(History.ListViolation(7, new Dictionary<string, ObjectState> { ["u2"] = new("d", 5) }));
        Assert.NotNull(History.ListViolation(5, new Dictionary<string, ObjectState> { ["u2"] = new("d", 5) }));
        Assert.NotNull(History.ListViolation(8, new Dictionary<string, ObjectState> { ["u2"] = new("d", 5) }));
        Assert.NotNull(History.ListViolation(8, new Dictionary<string, ObjectState> { ["u2"] = new("e", 5) }));
    }

    [Fact]
    public void A_revision_that_goes_back_is_found()
    {
        Assert.Empty(RevisionOrder.Violations([new("a", 1, 4, 10), new("b", 2, 3, 12), new("c", 5, 6, 12)]));
        Assert.Single(RevisionOrder.Violations([new("a", 1, 4, 10), new("b", 2, 3, 12), new("c", 5, 6, 11)]));

        // At the same time either may be first.
        Assert.Empty(RevisionOrder.Violations([new("a", 1, 4, 12), new("b", 3, 6, 10)]));
    }

    private static WatchStep Listed(string uid, string value, long revision) => Event(Added, uid, value, revision, position: 0);

    private static WatchStep Event(WatchStepKind kind, string uid, string value, long revision, long position) =>
        new(kind, position) { Uid = uid, Value = value, Revision = revision };

    private static void Right(IEnumerable<WatchStep> steps) => Assert.Empty(WatchCheck.Violations(History, steps, 8));

    private static void Wrong(IEnumerable<WatchStep> steps, string expected)
    {
        var violations = WatchCheck.Violations(History, steps, 8);
        Assert.Contains(violations, violation => violation.Contains(expected, StringComparison.Ordinal));
    }
}
