using System.Text;
using Google.Protobuf;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Server;
using Hypervisor.Server.Backups;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.Backups;

/// <summary>Protects: a backup restores every record under a new incarnation, or nothing at all.</summary>
public sealed class BackupTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("backup-tests-");
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Every_record_comes_back_and_the_incarnation_rises()
    {
        var source = await FilledAsync(1000);
        var path = await BackUpAsync(source);
        await using var target = new MemoryStore(_time);

        var told = await RestoreAsync(path, target);

        Assert.Contains("Restored 1000 records of cluster uid-1", told, StringComparison.Ordinal);
        Assert.Equal(await RecordsAsync(source), await RecordsAsync(target));
        Assert.Equal(("uid-1", 4), await IdentityAsync(target));
        Assert.Empty((await target.RangeAsync(RangeQuery.Prefix(Keys.Leaders), Cancellation)).Items);
        Assert.Empty((await target.RangeAsync(RangeQuery.Single(Keys.Restore), Cancellation)).Items);
    }

    [Fact]
    public async Task The_same_backup_restored_twice_takes_another_incarnation()
    {
        var path = await BackUpAsync(await FilledAsync(1));
        await using var first = new MemoryStore(_time);
        await using var second = new MemoryStore(_time);

        await RestoreAsync(path, first);
        await RestoreAsync(path, second);

        Assert.Equal((4, 5), ((await IdentityAsync(first)).Incarnation, (await IdentityAsync(second)).Incarnation));
    }

    [Fact]
    public async Task A_backup_is_as_of_one_revision()
    {
        var source = await FilledAsync(600);
        var backup = new ClusterBackup(source, _time);
        using var written = new MemoryStream();
        await foreach (var chunk in backup.ReadAsync(Cancellation))
        {
            written.Write(chunk.Span);
            await PutAsync(source, "records/999999", "too late");
        }

        var path = Write(written.ToArray());
        await using var target = new MemoryStore(_time);
        await RestoreAsync(path, target);

        Assert.Equal(600, (await RecordsAsync(target)).Count);
    }

    [Fact]
    public async Task A_file_cut_anywhere_is_refused_and_changes_nothing()
    {
        var whole = await File.ReadAllBytesAsync(await BackUpAsync(await FilledAsync(5)), Cancellation);
        for (var length = 0; length < whole.Length; length++)
        {
            await RefusedAsync(whole[..length]);
        }

        await RefusedAsync([.. whole, 0]);
    }

    [Fact]
    public async Task A_file_altered_anywhere_is_refused_and_changes_nothing()
    {
        var whole = await File.ReadAllBytesAsync(await BackUpAsync(await FilledAsync(5)), Cancellation);
        for (var position = 0; position < whole.Length; position++)
        {
            var altered = (byte[])whole.Clone();
            altered[position] ^= 1;
            await RefusedAsync(altered);
        }
    }

    [Fact]
    public async Task A_store_that_is_not_empty_is_refused()
    {
        var path = await BackUpAsync(await FilledAsync(5));
        await using var target = new MemoryStore(_time);
        await new ClusterIdentityBootstrap(target, new SystemRandomSource()).EnsureAsync(Cancellation);
        var before = await target.GetRevisionAsync(Cancellation);

        var refused = await Assert.ThrowsAsync<StartupException>(() => RestoreAsync(path, target));

        Assert.Contains("The memory store is not empty (it holds cluster/identity)", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await target.GetRevisionAsync(Cancellation));
    }

    [Fact]
    public async Task A_restore_that_was_cut_off_keeps_servers_out_and_is_finished_by_its_own_file_only()
    {
        var source = await FilledAsync(300);
        var path = await BackUpAsync(source);
        var other = await BackUpAsync(await FilledAsync(2));
        await using var target = new MemoryStore(_time);
        using (var file = BackupFile.Open(path))
        {
            await target.TransactAsync(new([], [new StoreOperation.Put(Keys.Restore, file.Digest)]), Cancellation);
            await PutAsync(target, "records/000000", "0");
        }

        var waits = await Assert.ThrowsAsync<StoreUnavailableException>(
            () => new ClusterIdentityBootstrap(target, new SystemRandomSource()).EnsureAsync(Cancellation));
        Assert.Contains("begun and not finished", waits.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<StartupException>(() => RestoreAsync(other, target));

        await RestoreAsync(path, target);
        Assert.Equal(await RecordsAsync(source), await RecordsAsync(target));
    }

    private async Task<MemoryStore> FilledAsync(int records)
    {
        var store = new MemoryStore(_time);
        var identity = new ClusterIdentity { ClusterUid = "uid-1", Incarnation = 3 };
        await store.TransactAsync(
            new(
                [],
                [
                    new StoreOperation.Put(Keys.ClusterIdentity, identity.ToByteArray()),
                    new StoreOperation.Put(Keys.Leader("controllers"), new byte[] { 1 }),
                    new StoreOperation.Put(Keys.WatchMarker, default),
                ]),
            Cancellation);
        for (var record = 0; record < records; record++)
        {
            await PutAsync(store, $"records/{record:d6}", $"{record}");
        }

        return store;
    }

    private static async Task PutAsync(MemoryStore store, string key, string value) =>
        await store.TransactAsync(new([], [new StoreOperation.Put(key, Encoding.UTF8.GetBytes(value))]), Cancellation);

    private async Task<string> BackUpAsync(MemoryStore store)
    {
        using var written = new MemoryStream();
        await foreach (var chunk in new ClusterBackup(store, _time).ReadAsync(Cancellation))
        {
            written.Write(chunk.Span);
        }

        return Write(written.ToArray());
    }

    private string Write(byte[] bytes)
    {
        var path = Path.Combine(_folder.FullName, $"{Directory.GetFiles(_folder.FullName).Length}.backup");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private Task<string> RestoreAsync(string path, MemoryStore target) =>
        ClusterRestore.RunAsync(path, target, Path.Combine(_folder.FullName, "data"));

    private async Task RefusedAsync(byte[] bytes)
    {
        await using var target = new MemoryStore(_time);
        var path = Path.Combine(_folder.FullName, "broken.backup");
        await File.WriteAllBytesAsync(path, bytes, Cancellation);

        var refused = await Assert.ThrowsAsync<StartupException>(() => RestoreAsync(path, target));

        Assert.EndsWith("Nothing was changed.", refused.Message, StringComparison.Ordinal);
        Assert.Equal(1, await target.GetRevisionAsync(Cancellation));
    }

    private static async Task<List<string>> RecordsAsync(MemoryStore store) =>
        [.. (await store.RangeAsync(RangeQuery.Prefix("records/"), Cancellation)).Items.Select(item =>
            $"{item.Key}={Encoding.UTF8.GetString(item.Value.Span)}")];

    private static async Task<(string Uid, int Incarnation)> IdentityAsync(MemoryStore store)
    {
        var found = await store.RangeAsync(RangeQuery.Single(Keys.ClusterIdentity), Cancellation);
        var identity = ClusterIdentity.Parser.ParseFrom(found.Items[0].Value.Span);
        return (identity.ClusterUid, identity.Incarnation);
    }
}
