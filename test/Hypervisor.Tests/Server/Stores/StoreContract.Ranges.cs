using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

public abstract partial class StoreContract
{
    [Fact(Timeout = Deadline)]
    public async Task A_range_is_half_open_and_in_the_order_of_the_bytes()
    {
        await DoAsync(Put("b/2"), Put("a"), Put("b"), Put("b/10"), Put("c"), Put("B"), Put("bü"));

        Assert.Equal(["B", "a", "b", "b/10", "b/2", "bü", "c"], await KeysAsync(RangeQuery.Prefix("")));
        Assert.Equal(["b/10", "b/2"], await KeysAsync(RangeQuery.Prefix("b/")));
        Assert.Equal(["b", "b/10"], await KeysAsync(new RangeQuery("b", "b/2")));
        Assert.Equal(["b"], await KeysAsync(RangeQuery.Single("b")));
        Assert.Empty(await KeysAsync(new RangeQuery("c", "a")));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_limit_cuts_and_says_so()
    {
        await DoAsync(Put("a"), Put("b"), Put("c"));

        var cut = await Store.RangeAsync(RangeQuery.Prefix("", limit: 2), Cancellation);
        Assert.Equal(["a", "b"], cut.Items.Select(item => item.Key));
        Assert.True(cut.More);
        Assert.False((await Store.RangeAsync(RangeQuery.Prefix("", limit: 3), Cancellation)).More);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_range_at_a_revision_shows_exactly_that_revision()
    {
        await DoAsync(Put("a", "1"), Put("b", "1"));
        var old = await DoAsync(Put("a", "2"));
        await DoAsync(Delete("a"), Put("c"));
        await DoAsync(Put("a", "3"));

        var then = await Store.RangeAsync(RangeQuery.Prefix("", old), Cancellation);
        Assert.Equal(["a=2", "b=1"], then.Items.Select(item => $"{item.Key}={Text(item)}"));
        Assert.Equal(old, then.Revision);
        Assert.Equal(["b", "c"], await KeysAsync(RangeQuery.Prefix("", old + 1)));
        Assert.Equal((2, 2), (then.Items[0].CreateRevision, then.Items[0].Version));
        Assert.Empty(await KeysAsync(RangeQuery.Prefix("", 1)));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_future_revision_cannot_be_read()
    {
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await Store.RangeAsync(RangeQuery.Prefix("", 2), Cancellation));
    }

    [Fact(Timeout = Deadline)]
    public async Task Compaction_keeps_its_revision_and_refuses_older_ones()
    {
        await DoAsync(Put("a", "1"), Put("gone"));
        await DoAsync(Delete("gone"));
        var kept = await DoAsync(Put("a", "2"), Put("b"));
        await DoAsync(Put("a", "3"));
        await DoAsync(Put("gone", "again"));

        await Store.CompactAsync(kept, Cancellation);

        Assert.Equal("2", Text(Assert.NotNull(await GetAsync("a", kept))));
        Assert.Equal("3", Text(Assert.NotNull(await GetAsync("a"))));
        Assert.Null(await GetAsync("gone", kept));
        Assert.Equal("again", Text(Assert.NotNull(await GetAsync("gone"))));
        var refused = await Assert.ThrowsAsync<RevisionCompactedException>(async () => await GetAsync("a", kept - 1));
        Assert.Equal(kept, refused.OldestRevision);

        await Store.CompactAsync(kept - 1, Cancellation);
        Assert.Equal(kept + 3, await DoAsync(Put("a")));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await Store.CompactAsync(kept + 100, Cancellation));
    }
}
