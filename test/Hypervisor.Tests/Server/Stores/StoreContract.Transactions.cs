using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

public abstract partial class StoreContract
{
    [Fact(Timeout = Deadline)]
    public async Task An_empty_store_is_at_revision_1()
    {
        Assert.Equal(1, await Store.GetRevisionAsync(Cancellation));
        Assert.Empty(await KeysAsync(RangeQuery.Prefix("")));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_put_keeps_the_creation_and_counts_the_version()
    {
        Assert.Equal(2, await DoAsync(Put("a", "1")));
        Assert.Equal(3, await DoAsync(Put("a", "2")));

        var item = Assert.NotNull(await GetAsync("a"));
        Assert.Equal(("2", 2, 3, 2), (Text(item), item.CreateRevision, item.ModRevision, item.Version));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_key_created_again_begins_anew()
    {
        await DoAsync(Put("a"));
        await DoAsync(Delete("a"));
        var revision = await DoAsync(Put("a"));

        var item = Assert.NotNull(await GetAsync("a"));
        Assert.Equal((revision, revision, 1), (item.CreateRevision, item.ModRevision, item.Version));
    }

    [Fact(Timeout = Deadline)]
    public async Task An_empty_value_is_a_value()
    {
        await DoAsync(Put("a", ""));

        Assert.Equal(0, Assert.NotNull(await GetAsync("a")).Value.Length);
        Assert.True((await IfAsync([Compare.ValueEquals("a", default)], [])).Succeeded);
        Assert.False((await IfAsync([Compare.ValueEquals("b", default)], [])).Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task All_changes_of_a_transaction_share_one_revision()
    {
        var revision = await DoAsync(Put("a"), Put("b"), Put("c"));

        var result = await Store.RangeAsync(RangeQuery.Prefix(""), Cancellation);
        Assert.All(result.Items, item => Assert.Equal(revision, item.ModRevision));
        Assert.Equal(revision, result.Revision);
    }

    [Fact(Timeout = Deadline)]
    public async Task Compares_look_at_absence_creation_modification_and_value()
    {
        var created = await DoAsync(Put("a", "1"));
        var modified = await DoAsync(Put("a", "2"));

        Assert.True(await HoldsAsync(Compare.Created("a", created)));
        Assert.False(await HoldsAsync(Compare.Created("a", modified)));
        Assert.True(await HoldsAsync(Compare.Modified("a", modified)));
        Assert.False(await HoldsAsync(Compare.Modified("a", created)));
        Assert.True(await HoldsAsync(Compare.ValueEquals("a", Bytes("2"))));
        Assert.False(await HoldsAsync(Compare.ValueEquals("a", Bytes("1"))));
        Assert.False(await HoldsAsync(Compare.Absent("a")));
        Assert.True(await HoldsAsync(Compare.Absent("b")));
        Assert.True(await HoldsAsync(Compare.Modified("b", 0)));
        await DoAsync(Delete("a"));
        Assert.True(await HoldsAsync(Compare.Absent("a")));
        Assert.False(await HoldsAsync(Compare.ValueEquals("a", Bytes("2"))));

        async Task<bool> HoldsAsync(Compare compare) => (await IfAsync([compare], [])).Succeeded;
    }

    [Fact(Timeout = Deadline)]
    public async Task One_compare_that_fails_selects_the_else_branch()
    {
        var result = await IfAsync([Compare.Absent("a"), Compare.Modified("b", 7)], [Put("then")], Put("else"));

        Assert.False(result.Succeeded);
        Assert.Equal(["else"], await KeysAsync(RangeQuery.Prefix("")));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_transaction_that_changes_nothing_makes_no_revision()
    {
        var revision = await DoAsync(Put("a"));

        Assert.Equal(revision, await DoAsync(Delete("absent")));
        Assert.Equal(revision, await DoAsync());
        Assert.Equal(revision, (await IfAsync([Compare.Absent("a")], [Put("b")])).Revision);
        Assert.Equal(revision, await Store.GetRevisionAsync(Cancellation));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_put_of_the_same_value_is_a_change()
    {
        var revision = await DoAsync(Put("a", "1"));

        Assert.Equal(revision + 1, await DoAsync(Put("a", "1")));
    }

    [Fact(Timeout = Deadline)]
    public async Task Each_nested_transaction_wins_or_loses_alone()
    {
        await DoAsync(Put("taken"));

        var result = await IfAsync(
            [],
            [
                Nested([Compare.Absent("a")], [Put("a")]),
                Nested([Compare.Absent("taken")], [Put("taken", "stolen")], Put("lost")),
                Nested([], [Nested([Compare.Absent("taken")], [Put("inner")]), Put("b")]),
            ]);

        Assert.Equal([true, false, true], result.Nested.Select(nested => nested.Succeeded));
        Assert.False(Assert.Single(result.Nested[2].Nested).Succeeded);
        Assert.All(result.Nested, nested => Assert.Equal(result.Revision, nested.Revision));
        Assert.Equal(["a", "b", "lost", "taken"], await KeysAsync(RangeQuery.Prefix("")));
        Assert.Equal("v", Text(Assert.NotNull(await GetAsync("taken"))));
    }

    [Fact(Timeout = Deadline)]
    public async Task Nested_compares_see_the_state_before_the_whole_transaction()
    {
        var result = await IfAsync([], [Put("a"), Nested([Compare.Absent("a")], [Put("b")])]);

        Assert.True(Assert.Single(result.Nested).Succeeded);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_key_written_twice_is_refused()
    {
        await RefusedAsync(new StoreTransaction([], [Put("a"), Put("a")]));
        await RefusedAsync(new StoreTransaction([], [Put("a"), Delete("a")]));
        await RefusedAsync(new StoreTransaction([], [Put("a"), Nested([], [Put("a")])]));
        await RefusedAsync(new StoreTransaction([], [Nested([], [Put("b")], Put("a")), Nested([], [Put("a")])]));

        // Only one of the two branches ever runs.
        await IfAsync([], [Nested([], [Put("a")], Put("a"))], Put("a"));
    }

    [Fact(Timeout = Deadline)]
    public async Task The_operation_limit_counts_each_level_as_etcd_does()
    {
        await DoAsync([.. Puts(StoreLimits.MaxOperations)]);
        await RefusedAsync(new StoreTransaction([], [.. Puts(StoreLimits.MaxOperations + 1)]));
        await RefusedAsync(new StoreTransaction([.. Enumerable.Repeat(Compare.Absent("x"), StoreLimits.MaxOperations + 1)], []));

        // 100 on the outer level leave 28 for each nested transaction.
        await DoAsync([.. Puts(99), Nested([], [.. Puts(28, "n")])]);
        await RefusedAsync(new StoreTransaction([], [.. Puts(99), Nested([], [.. Puts(29, "n")])]));

        static IEnumerable<StoreOperation> Puts(int count, string prefix = "k") => Enumerable.Range(0, count).Select(index => Put($"{prefix}{index}"));
    }

    [Fact(Timeout = Deadline)]
    public async Task Keys_and_transactions_over_their_limits_are_refused()
    {
        await DoAsync(new StoreOperation.Put("a", new byte[1_500_000]));
        await RefusedAsync(new StoreTransaction([], [new StoreOperation.Put("a", new byte[StoreLimits.MaxTransactionBytes])]));
        await DoAsync(Put(new string('k', StoreLimits.MaxKeyBytes)));
        await RefusedAsync(new StoreTransaction([], [Put(new string('k', StoreLimits.MaxKeyBytes + 1))]));
        await RefusedAsync(new StoreTransaction([], [Put(new string('ü', (StoreLimits.MaxKeyBytes / 2) + 1))]));
        await RefusedAsync(new StoreTransaction([], [Put("")]));
        await RefusedAsync(new StoreTransaction([], [Put("a\0b")]));
        await RefusedAsync(new StoreTransaction([Compare.Absent("\ud83d\ude00")], []));
    }

    private async Task RefusedAsync(StoreTransaction transaction)
    {
        var before = await Store.GetRevisionAsync(Cancellation);
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await Store.TransactAsync(transaction, Cancellation));
        Assert.Equal(before, await Store.GetRevisionAsync(Cancellation));
    }
}
