using Hypervisor.Server;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Sqlite;
using Xunit;

namespace Hypervisor.Tests.Server.Stores;

/// <summary>Protects: the embedded store behaves as every store does, and what it holds survives closing and opening.</summary>
public sealed class SqliteStoreTests : StoreContract
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("store-tests-");
    private int _files;

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact(Timeout = 60_000)]
    public async Task Everything_is_there_again_after_reopening()
    {
        await using var first = await OpenAsync("s.db");
        await WriteAsync(first, [Put("a", "1"), Put("b", "1")]);
        await WriteAsync(first, [Put("a", "2"), Delete("b")]);
        await first.DisposeAsync();

        await using var second = await OpenAsync("s.db");

        Assert.Equal(3, await second.GetRevisionAsync(Cancellation));
        var then = await second.RangeAsync(RangeQuery.Prefix("", 2), Cancellation);
        Assert.Equal(["a=1", "b=1"], then.Items.Select(item => $"{item.Key}={Text(item)}"));
        Assert.Equal(["2 a=1", "2 b=1", "3 a=2", "3 -b"], await ChangesAsync(second, "", 2, 3));
    }

    [Fact(Timeout = 60_000)]
    public async Task The_revision_never_goes_back_even_if_everything_was_deleted_and_compacted()
    {
        var first = await OpenAsync("s.db");
        await WriteAsync(first, [Put("a")]);
        var last = await WriteAsync(first, [Delete("a")]);
        await first.CompactAsync(last, Cancellation);
        await first.DisposeAsync();

        var second = await OpenAsync("s.db");
        Assert.Equal(last, await second.GetRevisionAsync(Cancellation));
        await Assert.ThrowsAsync<RevisionCompactedException>(async () => await second.RangeAsync(RangeQuery.Prefix("", last - 1), Cancellation));
        Assert.Equal(last + 1, await WriteAsync(second, [Put("a")]));
        await second.CompactAsync(last + 1, Cancellation);
        await second.DisposeAsync();

        await using var third = await OpenAsync("s.db");
        Assert.Equal(last + 1, await third.GetRevisionAsync(Cancellation));
        Assert.Equal((last + 1, 1), await third.RangeAsync(RangeQuery.Single("a"), Cancellation) is { Items: [var item] } ? (item.CreateRevision, item.Version) : default);
    }

    [Fact(Timeout = 60_000)]
    public async Task Compaction_removes_what_cannot_be_read_any_more()
    {
        var path = Path.Combine(_folder.FullName, "s.db");
        await using (var store = await OpenAsync("s.db"))
        {
            for (var write = 0; write < 200; write++)
            {
                await WriteAsync(store, [.. Enumerable.Range(0, 10).Select<int, StoreOperation>(
                    key => (write + key) % 3 == 2 ? Delete($"k{key}") : Put($"k{key}", $"{write}"))]);
            }

            var last = await WriteAsync(store, [Put("last")]);
            await store.CompactAsync(last, Cancellation);
        }

        // Opened once more, so that a sweep that the closing cut short goes on: by one step with each commit at least.
        const int Steps = (2000 / Limits.Sqlite.RowsPerStep) + 1;
        await using (var store = await OpenAsync("s.db"))
        {
            for (var step = 0; step < Steps; step++)
            {
                await WriteAsync(store, [Put("z")]);
            }
        }

        using var database = Database.Open(path);
        var heads = database.Scalar("SELECT count(*) FROM heads WHERE version > 0");
        Assert.Equal(heads + Steps - 1, database.Scalar("SELECT count(*) FROM history"));
        Assert.Equal(0, database.Scalar("SELECT count(*) FROM heads WHERE version = 0"));
        Assert.Equal(0, database.Scalar("SELECT count(*) FROM heads WHERE id NOT IN (SELECT id FROM history)"));
    }

    [Fact(Timeout = 60_000)]
    public async Task The_leader_key_of_a_dead_process_is_gone_after_opening()
    {
        var first = await OpenAsync("s.db");
        var leader = await first.CampaignAsync("e", "dead", TimeSpan.FromSeconds(5), Cancellation);
        await first.DisposeAsync();

        await using var second = await OpenAsync("s.db");

        var result = await second.TransactAsync(new StoreTransaction([leader.Guard], [Put("a")]), Cancellation);
        Assert.False(result.Succeeded);
        await using var next = await second.CampaignAsync("e", "alive", TimeSpan.FromSeconds(5), Cancellation);
        Assert.NotEqual(leader.Guard, next.Guard);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_second_opening_names_the_file_and_the_process_that_has_it()
    {
        await using var first = await OpenAsync("s.db");

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => OpenAsync("s.db"));

        Assert.Contains(Path.Combine(_folder.FullName, "s.db"), refused.Message, StringComparison.Ordinal);
        Assert.Contains($"process {Environment.ProcessId}", refused.Message, StringComparison.Ordinal);
        await WriteAsync(first, [Put("still works")]);
    }

    [Fact(Timeout = 60_000)]
    public async Task Files_that_are_no_store_are_named_and_left_alone()
    {
        var text = Path.Combine(_folder.FullName, "text.db");
        await File.WriteAllTextAsync(text, new string('x', 10_000), Cancellation);
        var other = Path.Combine(_folder.FullName, "other.db");
        using (var database = Database.Open(other))
        {
            database.Execute("CREATE TABLE t (x); PRAGMA user_version=1");
        }

        Assert.Contains(text, (await Assert.ThrowsAsync<StoreUnavailableException>(() => OpenAsync("text.db"))).Message, StringComparison.Ordinal);
        Assert.Contains("another program", (await Assert.ThrowsAsync<StoreUnavailableException>(() => OpenAsync("other.db"))).Message, StringComparison.Ordinal);
        Assert.Contains("folder exists", (await Assert.ThrowsAsync<StoreUnavailableException>(() => OpenAsync("absent/s.db"))).Message, StringComparison.Ordinal);
        Assert.Equal(new string('x', 10_000), await File.ReadAllTextAsync(text, Cancellation));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_file_of_a_newer_format_is_refused()
    {
        await (await OpenAsync("s.db")).DisposeAsync();
        using (var database = Database.Open(Path.Combine(_folder.FullName, "s.db")))
        {
            database.Execute("PRAGMA user_version=99");
        }

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => OpenAsync("s.db"));
        Assert.Contains("format 99", refused.Message, StringComparison.Ordinal);
    }

    [Fact(Timeout = 60_000)]
    public async Task Nobody_else_may_read_the_files()
    {
        await using var store = await OpenAsync("s.db");
        await WriteAsync(store, [Put("secret")]);

        Assert.All(_folder.GetFiles("s.db*"), file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_full_disk_fails_the_write_with_a_remedy_and_leaves_the_store_consistent()
    {
        await using var store = await OpenAsync("s.db", new SqliteStoreOptions(MaxPages: 64));
        var written = 0;
        StoreUnavailableException? failure = null;
        while (failure is null)
        {
            Assert.True(written < 1000);
            var write = WriteAsync(store, [Put($"k{written % 4}", $"{written:D4000}"), Put($"n{written:D4}")]);
            failure = await Record.ExceptionAsync(() => write) as StoreUnavailableException;
            written += failure is null ? 1 : 0;
        }

        var last = 1 + written;
        Assert.Contains("is full", failure.Message, StringComparison.Ordinal);
        Assert.Equal(last, await store.GetRevisionAsync(Cancellation));
        Assert.Equal(4 + written, (await store.RangeAsync(RangeQuery.Prefix(""), Cancellation)).Items.Count);
        Assert.Equal(2 * written, (await ChangesAsync(store, "", 1, last)).Count);

        // Once there is room again, here because history is compacted, writes work without further ado.
        await store.CompactAsync(last, Cancellation);
        Assert.Equal(last + 1, await WriteAsync(store, [Put("k0", $"{0:D4000}")]));
        Assert.Equal(last + 2, await WriteAsync(store, [Put("k1", $"{0:D4000}")]));
        Assert.Equal(4 + written, (await store.RangeAsync(RangeQuery.Prefix(""), Cancellation)).Items.Count);
    }

    [Fact(Timeout = 60_000)]
    public async Task Transactions_that_fail_together_leave_no_gap_in_the_revisions()
    {
        await using var store = await OpenAsync("s.db", new SqliteStoreOptions(MaxPages: 32));
        List<Task<long>> writes = [];
        for (var round = 0; round < 40; round++)
        {
            List<Task<long>> together = [];
            for (var write = 0; write < 5; write++)
            {
                together.Add(WriteAsync(store, [Put("small", $"{round}.{write}")]));
                together.Add(WriteAsync(store, [Put($"big{round}.{write}", $"{round:D9000}")]));
            }

            await Task.WhenAny(Task.WhenAll(together));
            writes.AddRange(together);
        }

        Assert.Contains(writes, write => write.IsFaulted);
        var acknowledged = writes.Where(write => write.IsCompletedSuccessfully).Select(write => write.Result).Order().ToList();
        var last = await store.GetRevisionAsync(Cancellation);
        Assert.Equal(Enumerable.Range(2, (int)last - 1).Select(revision => (long)revision), acknowledged);
        Assert.Equal(acknowledged.Count, (await ChangesAsync(store, "", 1, last)).Count);
    }

    [Fact(Timeout = 60_000)]
    public async Task Transactions_that_come_together_get_revisions_of_their_own_in_one_order()
    {
        await using var store = await OpenAsync("s.db");

        var results = await Task.WhenAll(Enumerable.Range(0, 500).Select(
            write => store.TransactAsync(new StoreTransaction([Compare.Absent($"k{write % 100}")], [Put($"k{write % 100}")]), Cancellation).AsTask()));

        var won = results.Where(result => result.Succeeded).ToList();
        Assert.Equal(100, won.Count);
        Assert.Equal(Enumerable.Range(2, 100).Select(revision => (long)revision), won.Select(result => result.Revision).Order());
    }

    private protected override int Histories => 60;

    private protected override async Task<IClusterStore> CreateAsync() => await OpenAsync($"contract{_files++}.db");

    private async Task<SqliteStore> OpenAsync(string name, SqliteStoreOptions? options = null) =>
        await SqliteStore.OpenAsync(Path.Combine(_folder.FullName, name), Time, options: options);

    private static async Task<long> WriteAsync(SqliteStore store, StoreOperation[] operations) =>
        (await store.TransactAsync(new StoreTransaction([], operations), Cancellation)).Revision;
}
