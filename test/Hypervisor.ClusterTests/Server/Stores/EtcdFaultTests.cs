using Hypervisor.Server.Stores;
using Hypervisor.TestCluster;
using Xunit;
using static Hypervisor.ClusterTests.Server.Stores.EtcdFaults;

namespace Hypervisor.ClusterTests.Server.Stores;

/// <summary>
/// Protects: what etcd does in bad hours (cuts, lost leaders, stopped members, no space, compaction) reaches the server as a
/// delay or as an error that a person understands, never as a gap or a wrong answer.
/// </summary>
public sealed class EtcdFaultTests
{
    [Fact(Timeout = 180_000)]
    public async Task A_cut_of_ten_seconds_ends_in_errors_and_then_in_an_exact_watch()
    {
        await using var network = await CutNetwork.CreateAsync();
        await using var etcd = await EtcdCluster.StartAsync(
            new EtcdOptions { NetworkNamespace = network.NamespacePath, Addresses = [network.Inside] });
        await using var store = await OpenAsync(etcd);
        var before = await PutAsync(store, "before");
        await using var watcher = new ExactWatcher(store, before);
        await watcher.ReachesAsync(before);

        await network.CutAsync();
        var cut = RealTime.Clock.GetTimestamp();
        var failed = await Assert.ThrowsAsync<StoreUnavailableException>(() => PutAsync(store, "during"));
        Assert.Contains($"etcd at {network.Inside}:2379", failed.Message, StringComparison.Ordinal);
        Assert.InRange(RealTime.Clock.GetElapsedTime(cut), TimeSpan.Zero, TimeSpan.FromSeconds(15));

        // What somebody else writes meanwhile, on the far side of the cut.
        await etcd.ControlAsync("put", "elsewhere", "1");
        await RealTime.UntilAsync("ten seconds have passed", Deadline, () => RealTime.Clock.GetElapsedTime(cut) > TimeSpan.FromSeconds(10));
        await network.HealAsync();

        var healed = RealTime.Clock.GetTimestamp();
        var after = await PutAtLastAsync(store, "after");
        await watcher.ReachesAsync(after);
        Assert.InRange(RealTime.Clock.GetElapsedTime(healed), TimeSpan.Zero, TimeSpan.FromSeconds(20));
        await watcher.AgreesAsync(store);
    }

    [Fact(Timeout = 180_000)]
    public async Task A_watcher_that_compaction_overtakes_is_told_where_to_begin()
    {
        await using var etcd = await EtcdCluster.StartAsync();
        await using var store = await OpenAsync(etcd);
        var value = new string('x', 100_000);
        await using var slow = store.WatchAsync("", 2, Cancellation).GetAsyncEnumerator(Cancellation);
        await PutAsync(store, "a", value);
        Assert.True(await slow.MoveNextAsync());

        // More than the connection, etcd and the reader hold for somebody who does not read.
        long last = 0;
        for (var write = 0; write < 1500; write++)
        {
            last = await PutAsync(store, "a", value);
        }

        await store.CompactAsync(last, Cancellation);
        var reached = slow.Current.Revision;
        var told = await Assert.ThrowsAsync<RevisionCompactedException>(async () =>
        {
            while (await slow.MoveNextAsync())
            {
                Assert.Equal(reached + 1, slow.Current.Revision);
                reached = slow.Current.Revision;
            }
        });

        Assert.Equal(last, told.OldestRevision);
        Assert.True(reached < last);
        await using var again = store.WatchAsync("", told.OldestRevision, Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await again.MoveNextAsync());
        Assert.Equal(last, again.Current.Revision);
    }

    [Fact(Timeout = 180_000)]
    public async Task A_leader_that_moves_costs_no_acknowledged_write_and_no_change_of_a_watch()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Members = 3 });
        await using var store = await OpenAsync(etcd);
        var first = await PutAsync(store, "first");
        await using var watcher = new ExactWatcher(store, first);
        List<(string Key, long Revision)> acknowledged = [];
        for (var move = 0; move < 3; move++)
        {
            var leader = await etcd.LeaderAsync();
            var target = await etcd.IdAsync((leader + 1) % 3);
            var moving = etcd.ControlAsync("move-leader", target);
            for (var write = 0; !moving.IsCompleted || write < 20; write++)
            {
                var key = $"m{move}/{write}";
                acknowledged.Add((key, await PutAtLastAsync(store, key)));
            }

            await moving;
        }

        await watcher.ReachesAsync(acknowledged[^1].Revision);
        await watcher.AgreesAsync(store);
        var held = (await store.RangeAsync(RangeQuery.Prefix("m"), Cancellation)).Items.Select(item => (item.Key, item.ModRevision));
        Assert.Equal(acknowledged.OrderBy(entry => entry.Key, StringComparer.Ordinal), held);
    }

    [Fact(Timeout = 180_000)]
    public async Task A_member_that_is_stopped_is_left_and_leadership_is_kept()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Members = 3 });
        await using var store = await OpenAsync(etcd);
        await using var leadership = await store.CampaignAsync("e", "one", TimeSpan.FromSeconds(15), Cancellation);
        var before = await PutAsync(store, "before");
        await using var watcher = new ExactWatcher(store, before);
        await watcher.ReachesAsync(before);

        // The first in the list: the one that is asked.
        var stopped = RealTime.Clock.GetTimestamp();
        etcd.Members[0].Signal(Linux.SignalStop);
        try
        {
            await store.GetRevisionAsync(Cancellation);
            Assert.InRange(RealTime.Clock.GetElapsedTime(stopped), TimeSpan.Zero, TimeSpan.FromSeconds(10));
            var after = await PutAtLastAsync(store, "after");
            await watcher.ReachesAsync(after);

            // Longer than the lease: it was renewed at the others.
            await RealTime.UntilAsync("the lease's time has passed", Deadline, () =>
                RealTime.Clock.GetElapsedTime(stopped) > TimeSpan.FromSeconds(20));
            Assert.False(leadership.Lost.IsCancellationRequested);
            Assert.True(
                (await store.TransactAsync(new([leadership.Guard], [new StoreOperation.Put("led", default)]), Cancellation)).Succeeded);
        }
        finally
        {
            etcd.Members[0].Signal(Linux.SignalContinue);
        }

        await watcher.ReachesAsync(await PutAtLastAsync(store, "again"));
        await watcher.AgreesAsync(store);
    }

    [Fact(Timeout = 180_000)]
    public async Task A_watch_that_falls_silent_is_replaced_although_nothing_is_written()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Members = 3 });
        await using var store = await OpenAsync(etcd);
        var before = await PutAsync(store, "before");
        await using var watcher = new ExactWatcher(store, before);
        await watcher.ReachesAsync(before);

        etcd.Members[0].Signal(Linux.SignalStop);
        try
        {
            // Written past the store: only the watch itself can notice that its stream is dead.
            await RealTime.UntilAsync("the others take writes", Deadline, async () => (await Shell.TryRunAsync(
                "env",
                ["ETCDCTL_API=3", "etcdctl", $"--endpoints={etcd.Endpoints[1]},{etcd.Endpoints[2]}", "put", "unseen", "1"])).ExitCode == 0);
            await watcher.ReachesAsync(before + 1);
        }
        finally
        {
            etcd.Members[0].Signal(Linux.SignalContinue);
        }
    }

    [Fact(Timeout = 180_000)]
    public async Task A_lost_majority_is_an_error_with_a_deadline_and_ends_when_it_is_back()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Members = 3 });
        await using var store = await OpenAsync(etcd);
        await PutAsync(store, "before");
        await etcd.Members[1].KillAsync();
        await etcd.Members[2].KillAsync();

        var asked = RealTime.Clock.GetTimestamp();
        await Assert.ThrowsAsync<StoreUnavailableException>(() => PutAsync(store, "during"));
        await Assert.ThrowsAsync<StoreUnavailableException>(async () => await store.GetRevisionAsync(Cancellation));
        Assert.InRange(RealTime.Clock.GetElapsedTime(asked), TimeSpan.Zero, TimeSpan.FromSeconds(40));

        etcd.Members[1].Start();
        etcd.Members[2].Start();
        await PutAtLastAsync(store, "after");
        Assert.Single((await store.RangeAsync(RangeQuery.Single("before"), Cancellation)).Items);
    }

    [Fact(Timeout = 180_000)]
    public async Task An_etcd_without_space_says_so_still_reads_and_recovers_when_disarmed()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { QuotaBytes = 16 * 1024 * 1024 });
        await using var store = await OpenAsync(etcd);
        await PutAsync(store, "kept");
        var value = new string('x', 1_000_000);
        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(async () =>
        {
            for (var write = 0; write < 100; write++)
            {
                await PutAsync(store, "filler", value);
            }
        });

        Assert.Contains("etcd is out of space", refused.Message, StringComparison.Ordinal);
        Assert.Contains("etcdctl alarm disarm", refused.Message, StringComparison.Ordinal);
        var revision = await store.GetRevisionAsync(Cancellation);
        Assert.Single((await store.RangeAsync(RangeQuery.Single("kept"), Cancellation)).Items);
        await using var watcher = new ExactWatcher(store, revision);
        await watcher.ReachesAsync(revision);

        // As the message says, and as the leader does anyway: history is compacted.
        await store.CompactAsync(revision, Cancellation);
        await etcd.ControlAsync("defrag");
        await etcd.ControlAsync("alarm", "disarm");
        await watcher.ReachesAsync(await PutAtLastAsync(store, "again"));
    }

    [Fact(Timeout = 180_000)]
    public async Task A_killed_member_that_was_asked_last_is_left_for_the_next()
    {
        await using var etcd = await EtcdCluster.StartAsync(new EtcdOptions { Members = 3 });
        await using var store = await OpenAsync(etcd);
        var first = await PutAsync(store, "first");
        await using var watcher = new ExactWatcher(store, first);
        for (var victim = 0; victim < 3; victim++)
        {
            await etcd.Members[victim].KillAsync();
            var revision = await PutAtLastAsync(store, $"v{victim}");
            await watcher.ReachesAsync(revision);
            etcd.Members[victim].Start();
            await etcd.HealthyAsync();
        }

        await watcher.AgreesAsync(store);
    }
}
