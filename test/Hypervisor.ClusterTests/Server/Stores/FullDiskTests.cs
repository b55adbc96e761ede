using System.Diagnostics;
using System.Text;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Sqlite;
using Xunit;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>
/// Protects: on a disk that is really full writes fail with a message that names the remedy, nothing acknowledged is lost,
/// reads go on, and writes work again once there is space, without a restart.
/// </summary>
public sealed class FullDiskTests : IAsyncLifetime
{
    private readonly DirectoryInfo _mount = Directory.CreateTempSubdirectory("store-full-disk-");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => await RunAsync("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", _mount.FullName);

    public async ValueTask DisposeAsync()
    {
        await RunAsync("umount", _mount.FullName);
        _mount.Delete();
    }

    [Fact(Timeout = 120_000)]
    public async Task Writes_fail_while_the_disk_is_full_and_work_again_afterwards()
    {
        var ballast = Path.Combine(_mount.FullName, "ballast");
        await File.WriteAllBytesAsync(ballast, new byte[2 * 1024 * 1024], Cancellation);
        var path = Path.Combine(_mount.FullName, "store.db");
        long acknowledged = 0;
        long revision;
        await using (var store = await SqliteStore.OpenAsync(path, new UnusedClock()))
        {
            StoreUnavailableException? failure = null;
            for (var attempt = 0; failure is null || attempt % 5 != 0; attempt++)
            {
                Assert.True(attempt < 10_000);
                try
                {
                    await PutAsync(store, $"k{acknowledged:D6}");
                    acknowledged++;
                }
                catch (StoreUnavailableException exception)
                {
                    failure = exception;
                }
            }

            Assert.Contains(path, failure.Message, StringComparison.Ordinal);
            Assert.Contains("full", failure.Message, StringComparison.Ordinal);
            Assert.Equal(1 + acknowledged, await store.GetRevisionAsync(Cancellation));
            Assert.Equal(acknowledged, await CountAsync(store));

            File.Delete(ballast);
            revision = await PutAsync(store, "again");
            Assert.Equal(2 + acknowledged, revision);
        }

        await using var reopened = await SqliteStore.OpenAsync(path, new UnusedClock());
        Assert.Equal(revision, await reopened.GetRevisionAsync(Cancellation));
        Assert.Equal(acknowledged + 1, await CountAsync(reopened));
    }

    private static async Task<long> PutAsync(SqliteStore store, string key)
    {
        var put = new StoreOperation.Put(key, Encoding.UTF8.GetBytes(new string('x', 2000)));
        return (await store.TransactAsync(new StoreTransaction([Compare.Absent(key)], [put]), Cancellation)).Revision;
    }

    private static async Task<int> CountAsync(SqliteStore store) =>
        (await store.RangeAsync(RangeQuery.Prefix(""), Cancellation)).Items.Count;

    private static async Task RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        var error = await process.StandardError.ReadToEndAsync(CancellationToken.None);
        await process.WaitForExitAsync(CancellationToken.None);
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {error} (mounting needs root)");
    }

    /// <summary>The store's clock is for leases, of which there are none here.</summary>
    private sealed class UnusedClock : TimeProvider;
}
