using Hypervisor.Server.Stores;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

public abstract partial class StoreContract
{
    /// <summary>Whether changes are on their way to a watch before it asks for them.</summary>
    private protected virtual bool SendsAhead => false;

    [Fact(Timeout = Deadline)]
    public async Task A_watch_delivers_the_past_and_then_the_present()
    {
        await DoAsync(Put("a", "1"), Put("b", "1"));
        await DoAsync(Put("a", "2"));
        var watch = ChangesAsync(Store, "", 3, 5);
        await DoAsync(Delete("a"));
        await DoAsync(Put("a", "4"), Put("c", "4"));

        Assert.Equal(["3 a=2", "4 -a", "5 a=4", "5 c=4"], await watch);
        Assert.Equal(["2 b=1"], await ChangesAsync(Store, "b", 1, 5));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_from_a_future_revision_waits_for_it()
    {
        var watch = ChangesAsync(Store, "", 4, 4);
        await DoAsync(Put("a", "2"));
        await DoAsync(Put("a", "3"));
        await DoAsync(Put("a", "4"));

        Assert.Equal(["4 a=4"], await watch);
    }

    [Fact(Timeout = Deadline)]
    public async Task Revisions_without_a_matching_change_are_told_as_progress()
    {
        await using var watch = Store.WatchAsync("a/", 1, Cancellation).GetAsyncEnumerator(Cancellation);
        await DoAsync(Put("b"));
        Assert.True(await watch.MoveNextAsync());
        Assert.Empty(watch.Current.Changes);
        Assert.Equal(2, watch.Current.Revision);

        var next = watch.MoveNextAsync();
        await DoAsync(Put("b"));
        Assert.True(await next);
        Assert.Empty(watch.Current.Changes);
        Assert.Equal(3, watch.Current.Revision);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_ends_when_it_is_cancelled()
    {
        using var cancelled = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        await using var watch = Store.WatchAsync("", 2, cancelled.Token).GetAsyncEnumerator(cancelled.Token);
        var next = watch.MoveNextAsync();
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await next);
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_from_a_compacted_revision_is_refused()
    {
        for (var write = 0; write < 5; write++)
        {
            await DoAsync(Put("a"));
        }

        await Store.CompactAsync(4, Cancellation);

        var refused = await Assert.ThrowsAsync<RevisionCompactedException>(() => ChangesAsync(Store, "", 3, 6));
        Assert.Equal(4, refused.OldestRevision);
        Assert.Equal(["5 a=v", "6 a=v"], await ChangesAsync(Store, "", 5, 6));
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_that_compaction_overtakes_is_told_and_not_given_a_gap()
    {
        await DoAsync(Put("a", "2"));
        await using var watch = Store.WatchAsync("", 2, Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await watch.MoveNextAsync());
        for (var write = 3; write <= 10; write++)
        {
            await DoAsync(Put("a", $"{write}"));
        }

        await Store.CompactAsync(8, Cancellation);

        // What a store had on its way already may still come, but only whole: then nothing is missing.
        long last = 2;
        try
        {
            while (last < 10)
            {
                Assert.True(await watch.MoveNextAsync());
                Assert.Equal(++last, watch.Current.Revision);
                Assert.True(SendsAhead, "the changes are compacted");
            }
        }
        catch (RevisionCompactedException refused)
        {
            Assert.Equal(8, refused.OldestRevision);
            Assert.True(last < 8);
        }
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_that_waits_survives_a_compaction()
    {
        await DoAsync(Put("a", "2"));
        await DoAsync(Put("a", "3"));
        await using var watch = Store.WatchAsync("", 3, Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await watch.MoveNextAsync());
        var next = watch.MoveNextAsync();

        await Store.CompactAsync(3, Cancellation);
        await DoAsync(Put("a", "4"));

        Assert.True(await next);
        Assert.Equal("4 a=4", Describe(Assert.Single(watch.Current.Changes), 4));
    }

    [Fact(Timeout = Deadline)]
    public async Task Watches_from_any_revision_are_exact_under_concurrent_writers()
    {
        const int Writers = 8;
        const int WritesEach = 60;
        const long Last = 1 + (Writers * WritesEach);
        var watches = Enumerable.Range(0, 6).Select(watch => Task.Run(() => ChangesAsync(Store, watch % 2 == 0 ? "" : "w3/", 1 + (watch * 40), Last), Cancellation)).ToList();
        var results = await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(() => WriteAsync(writer), Cancellation)));
        watches.Add(ChangesAsync(Store, "", 2, Last));

        // What the writers were told is the model.
        var model = results.SelectMany(result => result).OrderBy(change => change.Revision).ToList();
        Assert.Equal(Enumerable.Range(2, Writers * WritesEach).Select(revision => (long)revision), model.Select(change => change.Revision));
        for (var watch = 0; watch < watches.Count; watch++)
        {
            var from = watch == 6 ? 2 : 1 + (watch * 40);
            var expected = model.Where(change => change.Revision >= from && (watch % 2 == 0 || change.Key.StartsWith("w3/", StringComparison.Ordinal)));
            Assert.Equal(expected.Select(change => change.Text), await watches[watch]);
        }

        async Task<List<(long Revision, string Key, string Text)>> WriteAsync(int writer)
        {
            List<(long Revision, string Key, string Text)> made = [];
            for (var write = 0; write < WritesEach; write++)
            {
                var key = $"w{writer}/{write % 7}";
                var delete = write >= 7 && write % 14 >= 7;
                var revision = await DoAsync(delete ? Delete(key) : Put(key, $"{write}"));
                made.Add((revision, key, delete ? $"{revision} -{key}" : $"{revision} {key}={write}"));
            }

            return made;
        }
    }

    [Fact(Timeout = Deadline)]
    public async Task A_watch_that_stood_still_for_long_misses_nothing()
    {
        var value = new string('x', 20_000);
        await using var watch = Store.WatchAsync("", 2, Cancellation).GetAsyncEnumerator(Cancellation);
        var next = watch.MoveNextAsync();
        for (var write = 0; write < 600; write++)
        {
            await DoAsync(Put("a", value));
        }

        List<long> revisions = [];
        do
        {
            Assert.True(await next);
            revisions.Add(watch.Current.Revision);
            next = watch.Current.Revision < 601 ? watch.MoveNextAsync() : default;
        }
        while (revisions[^1] < 601);

        Assert.Equal(Enumerable.Range(2, 600).Select(revision => (long)revision), revisions);
    }
}
