using Hypervisor.TestCluster.Histories;
using Xunit;
using static Hypervisor.TestCluster.Histories.OperationKind;
using static Hypervisor.TestCluster.Histories.Outcome;

namespace Hypervisor.Tests.Proof;

/// <summary>Protects: the checker of concurrent histories refuses the wrong ones and accepts the right ones, however odd.</summary>
public sealed class LinearizabilityTests
{
    [Fact]
    public void A_stale_read_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Update, 3, 4, Done, "b", 11),
        Op(Get, 5, 6, Done, "a", 10));

    [Fact]
    public void A_read_that_goes_back_is_found_though_each_alone_could_be() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Update, 3, 20, Done, "b", 11),
        Op(Get, 4, 5, Done, "b", 11),
        Op(Get, 6, 7, Done, "a", 10));

    [Fact]
    public void A_lost_update_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        If(Op(Update, 3, 8, Done, "b", 11), "a", 10),
        If(Op(Update, 4, 9, Done, "c", 12), "a", 10));

    [Fact]
    public void A_lost_update_after_a_change_by_other_hands_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Get, 3, 4, Done, "a", 12),
        If(Op(Update, 5, 6, Done, "b", 13), "a", 10));

    [Fact]
    public void A_write_applied_twice_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Lost(Update, 3, "b"),
        Op(Get, 5, 6, Done, "b", 11),
        Op(Update, 7, 8, Done, "c", 12),
        Op(Get, 9, 10, Done, "c", 12),
        Op(Get, 11, 12, Done, "b", 13));

    [Fact]
    public void A_value_that_nobody_wrote_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Get, 3, 4, Done, "z", 10));

    [Fact]
    public void A_write_that_shows_before_it_was_asked_for_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Get, 3, 4, Done, "b", 11),
        Lost(Update, 5, "b"));

    [Fact]
    public void A_revision_that_goes_back_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Update, 3, 4, Done, "b", 9));

    [Fact]
    public void An_acknowledged_write_that_vanished_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Get, 3, 4, Absent));

    [Fact]
    public void Two_creates_of_one_name_are_found() => Wrong(
        Op(Create, 1, 5, Done, "a", 10),
        Op(Create, 2, 6, Done, "b", 11));

    [Fact]
    public void A_refusal_for_an_object_that_never_was_is_found() => Wrong(Op(Create, 1, 2, Present, "a"));

    [Fact]
    public void A_conflict_for_somebody_who_named_no_version_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Update, 3, 4, Conflict, "b"));

    [Fact]
    public void A_delete_undone_is_found() => Wrong(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Delete, 3, 4, Done, version: 11),
        Op(Get, 5, 6, Done, "a", 12));

    [Fact]
    public void Reads_of_a_write_under_way_may_show_either() => Right(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Update, 3, 20, Done, "b", 11),
        Op(Get, 4, 5, Done, "a", 10),
        Op(Get, 6, 7, Done, "b", 11));

    [Fact]
    public void A_write_whose_reply_was_lost_may_take_effect_late() => Right(
        Op(Create, 1, 2, Done, "a", 10),
        Lost(Update, 3, "b"),
        Op(Get, 5, 6, Done, "a", 10),
        Op(Update, 7, 8, Done, "c", 11),
        Op(Get, 9, 10, Done, "b", 12));

    [Fact]
    public void A_write_whose_reply_was_lost_may_never_take_effect() => Right(
        Op(Create, 1, 2, Done, "a", 10),
        Lost(Update, 3, "b"),
        Lost(Delete, 4),
        Op(Get, 5, 6, Done, "a", 10));

    [Fact]
    public void A_lost_delete_explains_an_absence_and_a_new_beginning() => Right(
        Op(Create, 1, 2, Done, "a", 10),
        Lost(Delete, 3),
        Op(Create, 5, 6, Present, "b"),
        Op(Get, 7, 8, Absent),
        Op(Create, 9, 10, Done, "c", 12),
        Op(Get, 11, 12, Done, "c", 12));

    [Fact]
    public void A_version_may_grow_by_other_hands() => Right(
        Op(Create, 1, 2, Done, "a", 10),
        Op(Get, 3, 4, Done, "a", 12),
        If(Op(Update, 5, 6, Conflict, "b"), "a", 10),
        If(Op(Update, 7, 8, Done, "c", 13), "a", 12));

    [Fact]
    public void Many_lost_writes_are_decided_quickly()
    {
        List<Operation> history = [Op(Create, 1, 2, Done, "first", 1)];
        for (var index = 0; index < 200; index++)
        {
            var at = 10 + (index * 10);
            history.Add(Lost(Update, at, $"lost-{index}"));
            history.Add(Op(Update, at + 1, at + 4, Done, $"done-{index}", at));
            history.Add(Op(Get, at + 5, at + 6, Done, index % 3 == 0 ? $"lost-{index}" : $"done-{index}", index % 3 == 0 ? at + 1 : at));
        }

        Right([.. history]);
    }

    [Fact]
    public void The_explanation_names_what_cannot_be_next()
    {
        var violation = LinearizabilityCheck.Violation([Op(Create, 1, 2, Done, "a", 10), Op(Get, 3, 4, Absent)]);

        Assert.Contains("after 1 of 2 operations the key can hold a@10", violation, StringComparison.Ordinal);
        Assert.Contains("[3-4] Get : Absent", violation, StringComparison.Ordinal);
    }

    private static Operation Op(OperationKind kind, long invoked, long returned, Outcome outcome, string value = "", long version = 0) =>
        new(kind, invoked, returned, outcome) { Value = value, Version = version };

    private static Operation If(Operation operation, string value, long version) =>
        operation with { ExpectedValue = value, ExpectedVersion = version };

    private static Operation Lost(OperationKind kind, long invoked, string value = "") =>
        new(kind, invoked, 0, Outcome.Unknown) { Value = value };

    private static void Wrong(params Operation[] history) => Assert.NotNull(LinearizabilityCheck.Violation(history));

    private static void Right(params Operation[] history) => Assert.Null(LinearizabilityCheck.Violation(history));
}
