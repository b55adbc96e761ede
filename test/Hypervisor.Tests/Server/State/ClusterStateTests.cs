using CsCheck;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Memory;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Time.Testing;
using Xunit;
using InstanceView = Hypervisor.Server.State.InstanceView;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: the view is exactly what the store holds, whether read at once or followed, and says so when it lost track.</summary>
public sealed class ClusterStateTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task A_view_that_followed_equals_one_that_was_read_anew()
    {
        await Gen.Select(Gen.Int[0, 5], Gen.Int[0, 3], Gen.Int[0, 3]).List[1, 40].SampleAsync(
            async steps =>
            {
                await using var replica = await Replica.StartAsync();
                foreach (var (action, instance, node) in steps)
                {
                    await replica.WriteAsync(Step(action, $"i{instance}", $"n{node}"));
                }

                var followed = replica.State.View;
                await using var second = new Following(replica.Store);
                Assert.Equal(Everything(followed), Everything(await second.LoadAsync(followed.Revision)));
                await replica.Store.CompactAsync(followed.Revision, Cancellation);
                await using var third = new Following(replica.Store);
                Assert.Equal(Everything(followed), Everything(await third.LoadAsync(followed.Revision)));
                foreach (var entry in followed.Nodes)
                {
                    var placed = followed.Instances.Where(instance => instance.NodeId == entry.Id).ToList();
                    Assert.Equal(placed.Sum(instance => instance.PlacementRecord!.Reserved.MemoryBytes), entry.Allocated.MemoryBytes);
                    Assert.Equal(placed.Sum(instance => instance.PlacementRecord!.Reserved.Devices["gpu"]), entry.Allocated.Devices["gpu"]);
                    Assert.Equal(placed.Select(instance => instance.Id.Value).Order(StringComparer.Ordinal), entry.InstanceUids.Order(StringComparer.Ordinal));
                }
            },
            iter: 60,
            threads: 1);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_lost_watch_is_resumed_without_gap_and_without_resync()
    {
        var store = new FaultyStore(new MemoryStore(new FakeTimeProvider()));
        await using var replica = await Replica.StartAsync(store);
        using var feed = replica.State.Subscribe(replica.State.Revision);
        await replica.CreateAsync("before");
        store.BreakWatches(new StoreUnavailableException("cut"));
        var written = await store.TransactAsync(
            new([], [new StoreOperation.Put(Keys.Spec("default", "name-i1"), Spec("i1").ToByteArray())]), Cancellation);
        await replica.Time.AdvanceUntilAsync(() => replica.State.Revision >= written.Revision, Limits.State.RetryMaximum);

        Assert.Equal(FeedReadKind.Change, feed.Read().Kind);
        var second = feed.Read();
        Assert.Equal(written.Revision, second.Revision);
        Assert.Equal("i1", Assert.Single(second.Change!.Instances).New!.Id.Value);
        Assert.Equal(FeedReadKind.Idle, feed.Read().Kind);
    }

    [Fact(Timeout = 60_000)]
    public async Task Compaction_past_the_view_means_reading_anew_and_an_explicit_resync()
    {
        var store = new FaultyStore(new MemoryStore(new FakeTimeProvider()));
        await using var replica = await Replica.StartAsync(store);
        using var feed = replica.State.Subscribe(replica.State.Revision);
        store.BreakWatches(new RevisionCompactedException(5));

        var read = await feed.ReadAsync(TimeSpan.FromHours(1), Cancellation);

        Assert.Equal(FeedReadKind.Resync, read.Kind);
        Assert.NotNull(await replica.CreateAsync("after"));
    }

    [Theory(Timeout = 60_000)]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task A_restarted_server_knows_the_changes_that_the_store_still_holds(int forgotten, bool resync)
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("before");
        var seen = replica.State.Revision;
        await replica.CreateAsync("one");
        await replica.CreateAsync("two");
        await replica.Store.CompactAsync(seen + forgotten - 1, Cancellation);

        await using var restarted = new Following(replica.Store);
        var view = await restarted.LoadAsync(1);
        using var feed = restarted.State.Subscribe(seen);

        Assert.Equal(replica.State.Revision, view.Revision);
        var read = feed.Read();
        Assert.Equal(resync ? FeedReadKind.Resync : FeedReadKind.Change, read.Kind);
        if (!resync)
        {
            Assert.Equal("one", Assert.Single(read.Change!.Instances).New!.Name);
            Assert.Equal("two", Assert.Single(feed.Read().Change!.Instances).New!.Name);
            Assert.Equal(FeedReadKind.Idle, feed.Read().Kind);
        }
    }

    [Fact(Timeout = 60_000)]
    public async Task Waiting_for_a_revision_ends_with_it_or_with_the_token()
    {
        await using var replica = await Replica.StartAsync();
        var next = replica.State.Revision + 1;
        var waiting = replica.State.WaitForRevisionAsync(next, Cancellation);
        using var given = new CancellationTokenSource();
        var cancelled = replica.State.WaitForRevisionAsync(next + 100, given.Token);

        await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Ready));
        await given.CancelAsync();

        Assert.True((await waiting).Revision >= next);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await cancelled);
    }

    [Fact(Timeout = 60_000)]
    public async Task The_first_server_gives_the_store_its_identity_and_others_keep_it()
    {
        var store = new MemoryStore(new FakeTimeProvider());
        var first = await new ClusterIdentityBootstrap(store, new SeededRandom(1)).EnsureAsync(Cancellation);
        var second = await new ClusterIdentityBootstrap(store, new SeededRandom(2)).EnsureAsync(Cancellation);

        Assert.Equal(first, second);
        Assert.Equal(1, first.Incarnation);
        Assert.Equal(36, first.ClusterUid.Length);
    }

    [Fact]
    public void A_subscriber_that_is_too_slow_is_told_to_resync()
    {
        var log = new ChangeLog(maxRevisions: 4, maxEntries: 100, new FakeTimeProvider());
        using var slow = log.Subscribe(0);
        using var quick = log.Subscribe(0);
        for (var revision = 1; revision <= 6; revision++)
        {
            log.Append(new(revision, [], [], [], [], LeaderChanged: true));
            Assert.Equal(revision, quick.Read().Revision);
        }

        Assert.Equal(FeedReadKind.Resync, slow.Read().Kind);
        using var late = log.Subscribe(1);
        Assert.Equal(FeedReadKind.Resync, late.Read().Kind);
        using var inTime = log.Subscribe(2);
        Assert.Equal(3, inTime.Read().Revision);
    }

    [Fact(Timeout = 60_000)]
    public async Task Readers_keep_a_view_that_never_changes_under_them()
    {
        await using var replica = await Replica.StartAsync();
        await replica.CreateAsync("one");
        var view = replica.State.View;
        await replica.CreateAsync("two");

        Assert.Equal("one", Assert.Single(view.Instances).Name);
        Assert.Equal(2, replica.State.View.InstanceCount);
    }

    private static StoreOperation[] Step(int action, string instance, string node) => action switch
    {
        0 => [new StoreOperation.Put(Keys.Spec("default", "name-" + instance), Spec(instance).ToByteArray())],
        1 => [Replica.Place(instance, node, epoch: 1, memoryBytes: 10 + node[1])],
        2 => [Replica.Report(instance, 1, InstanceState.Running)],
        3 =>
        [
            new StoreOperation.Put(
                Keys.NodeSpec(new(node)), new NodeSpecRecord { Metadata = new() { Name = "name-" + node, Uid = node } }.ToByteArray()),
            Replica.Health(node, NodeLiveness.Ready),
        ],
        4 => [Replica.Health(node, NodeLiveness.Down)],
        _ =>
        [
            new StoreOperation.Delete(Keys.Spec("default", "name-" + instance)),
            new StoreOperation.Delete(Keys.Placement(new(instance))),
            new StoreOperation.Delete(Keys.Status(new(instance))),
        ],
    };

    private static InstanceSpecRecord Spec(string uid) => new()
    {
        Metadata = new() { Name = "name-" + uid, Project = "default", Uid = uid, Generation = 1 },
        Spec = new() { Type = InstanceType.Container },
    };

    private static List<string> Everything(ClusterView view) =>
    [
        .. view.Instances.Select(entry => InstanceView.Render(entry).ToString()),
        .. view.Nodes.Select(entry => NodeView.Render(entry).ToString()),
        .. view.UnplacedInstances.Select(entry => entry.Id.Value),
    ];
}
