using CsCheck;
using Google.Protobuf;
using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Stores;
using Hypervisor.Tests.Server.State;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Watches;

/// <summary>Protects: WatchExact and WatchEqualsList: what a watch tells adds up to what a list shows, from wherever it resumes.</summary>
public sealed class InstanceWatchTests
{
    private static readonly string[] Selectors = ["", "app=a", "!app"];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact(Timeout = 120_000)]
    public async Task A_watch_that_is_cut_and_resumed_anywhere_equals_the_list()
    {
        var gen = Gen.Select(
            Gen.Select(Gen.Int[0, 5], Gen.Int[0, 3]).List[1, 25], Gen.Int[0, 40], Gen.Int[0, 2], Gen.Bool);
        await gen.SampleAsync(
            async (steps, cut, choice, runningOnly) =>
            {
                var selector = Selectors[choice];
                await using var replica = await Replica.StartAsync();
                await replica.AddNodeAsync("n1", "alpha");
                foreach (var (action, index) in steps.Take(steps.Count / 2))
                {
                    await StepAsync(replica, action, $"i{index}");
                }

                var request = new WatchInstancesRequest { LabelSelector = selector };
                var list = new ListInstancesRequest { LabelSelector = selector };
                if (runningOnly)
                {
                    request.States.Add(InstanceState.Running);
                    list.States.Add(InstanceState.Running);
                }

                var model = new WatchModel();
                var remaining = cut;
                await using (var first = replica.Watches.InstancesAsync(request, Cancellation).GetAsyncEnumerator(Cancellation))
                {
                    // To the cut, but at least over the initial list: before its end there is nothing to resume from.
                    do
                    {
                        Assert.True(await first.MoveNextAsync());
                        model.Apply(first.Current);
                        remaining--;
                    }
                    while (first.Current.Type != WatchEventType.Bookmark);

                    foreach (var (action, index) in steps.Skip(steps.Count / 2))
                    {
                        await StepAsync(replica, action, $"i{index}");
                    }

                    while (remaining-- > 0 && model.Position < replica.State.View.ResourceVersion.Value)
                    {
                        await NextAsync(replica, first, model);
                    }
                }

                request.ResourceVersion = model.Position;
                var end = replica.State.View.ResourceVersion.Value;
                await using var second = replica.Watches.InstancesAsync(request, Cancellation).GetAsyncEnumerator(Cancellation);
                while (model.Position < end)
                {
                    await NextAsync(replica, second, model);
                }

                var listed = await replica.Instances.Queries.ListAsync(list, Cancellation);
                Assert.Equal(end, listed.List.ResourceVersion);
                Assert.Equal(
                    listed.Instances.OrderBy(instance => instance.Metadata.Uid, StringComparer.Ordinal).Select(instance => instance.ToString()),
                    model.Objects.Select(instance => instance.ToString()));
            },
            iter: 80,
            threads: 1);
    }

    [Fact(Timeout = 60_000)]
    public async Task The_position_moves_with_the_last_event_of_a_revision_only()
    {
        await using var replica = await Replica.StartAsync();
        var start = replica.State.View.ResourceVersion.Value;
        var view = await replica.WriteAsync([.. Enumerable.Range(0, 3).Select(index => Spec($"i{index}", 1))]);
        var watch = await TakeAsync(replica, new() { ResourceVersion = start }, 3);

        Assert.Equal([start, start, view.ResourceVersion.Value], watch.Select(each => each.ResourceVersion));
        Assert.All(watch, each => Assert.Equal(view.ResourceVersion.Value, each.Instance.Metadata.ResourceVersion));
    }

    [Fact(Timeout = 60_000)]
    public async Task Entering_and_leaving_the_filter_are_added_and_deleted_with_the_last_state_in_it()
    {
        await using var replica = await Replica.StartAsync();
        await replica.AddNodeAsync("n1", "alpha");
        await replica.WriteAsync(Spec("i0", 1), Replica.Place("i0", "n1", 1));
        var start = replica.State.View.ResourceVersion.Value;
        await replica.WriteAsync(Replica.Report("i0", 1, InstanceState.Running));
        var left = await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Down));
        await replica.WriteAsync(Replica.Health("n1", NodeLiveness.Ready));

        var events = await TakeAsync(replica, new() { ResourceVersion = start, States = { InstanceState.Running } }, 3);

        Assert.Equal([WatchEventType.Added, WatchEventType.Deleted, WatchEventType.Added], events.Select(each => each.Type));
        Assert.Equal(InstanceState.Running, events[1].Instance.Status.State);
        Assert.Equal(left.ResourceVersion.Value, events[1].Instance.Metadata.ResourceVersion);
    }

    [Fact(Timeout = 60_000)]
    public async Task An_idle_watch_sends_bookmarks_that_can_be_resumed_from()
    {
        await using var replica = await Replica.StartAsync();
        await using var watch = replica.Watches.InstancesAsync(new(), Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.True(await watch.MoveNextAsync());
        Assert.Equal(WatchEventType.Bookmark, watch.Current.Type);
        await replica.AddNodeAsync("n1", "alpha");

        var next = watch.MoveNextAsync().AsTask();
        await replica.Time.AdvanceUntilAsync(next, Limits.Api.WatchBookmarkInterval);

        Assert.True(await next);
        Assert.Equal(WatchEventType.Bookmark, watch.Current.Type);
        Assert.Equal(replica.State.View.ResourceVersion.Value, watch.Current.ResourceVersion);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_version_of_another_incarnation_means_resync_and_the_end()
    {
        await using var replica = await Replica.StartAsync();
        var other = ResourceVersion.Of(new Incarnation(2), 1).Value;

        var events = await replica.Watches.InstancesAsync(new() { ResourceVersion = other }, Cancellation).ToListAsync(Cancellation);

        Assert.Equal(WatchEventType.Resync, Assert.Single(events).Type);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_version_from_the_future_waits_a_while_and_then_fails_clearly()
    {
        await using var replica = await Replica.StartAsync();
        var future = ResourceVersion.Of(Incarnation.First, replica.State.Revision + 1000).Value;
        var next = TakeAsync(replica, new() { ResourceVersion = future }, 1);
        await replica.Time.AdvanceUntilAsync(next, Limits.Api.WatchFutureWait);

        var error = await Assert.ThrowsAsync<RpcException>(() => next);
        Assert.Equal(StatusCode.OutOfRange, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task One_instance_is_watched_through_its_end_and_its_successor_of_the_same_name_is_another()
    {
        await using var replica = await Replica.StartAsync();
        var created = await replica.CreateAsync("web");
        await replica.Instances.Deletion.DeleteAsync(new() { Instance = "web" }, Cancellation);
        var resumed = new WatchInstancesRequest { Instance = "web", ResourceVersion = created.Metadata.ResourceVersion };

        var events = await TakeAsync(replica, resumed, 1);

        Assert.Equal(WatchEventType.Deleted, events[0].Type);
        Assert.Equal(created.Metadata.Uid, events[0].Instance.Metadata.Uid);
        var error = await Assert.ThrowsAsync<RpcException>(() => TakeAsync(replica, new() { Instance = "other" }, 1));
        Assert.Equal(StatusCode.NotFound, error.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task Nodes_are_watched_with_what_is_allocated_on_them()
    {
        await using var replica = await Replica.StartAsync();
        await replica.AddNodeAsync("n1", "alpha");
        var start = replica.State.View.ResourceVersion.Value;
        var view = await replica.WriteAsync(Spec("i0", 1), Replica.Place("i0", "n1", 1, memoryBytes: 77));

        var changed = await replica.Watches.NodesAsync(new() { ResourceVersion = start }, Cancellation).FirstAsync(Cancellation);

        Assert.Equal(WatchEventType.Modified, changed.Type);
        Assert.Equal(77, changed.Node.Status.Allocated.MemoryBytes);
        Assert.Equal(1, changed.Node.Status.InstanceCount);
        Assert.Equal(view.ResourceVersion.Value, changed.ResourceVersion);
        Assert.Equal(start, changed.Node.Metadata.ResourceVersion);
        Assert.Equal(0, replica.Watches.Watches);
    }

    private static async Task NextAsync(Replica replica, IAsyncEnumerator<WatchInstancesResponse> watch, WatchModel model)
    {
        var next = watch.MoveNextAsync().AsTask();

        // Nothing may match any more: then the bookmark tells how far the watch is.
        await replica.Time.AdvanceUntilAsync(next, Limits.Api.WatchBookmarkInterval);

        Assert.True(await next);
        model.Apply(watch.Current);
    }

    private static async Task<List<WatchInstancesResponse>> TakeAsync(Replica replica, WatchInstancesRequest request, int count) =>
        await replica.Watches.InstancesAsync(request, Cancellation).Take(count).ToListAsync(Cancellation);

    private static async Task StepAsync(Replica replica, int action, string uid) => await replica.WriteAsync(action switch
    {
        0 => uid == "i3" ? [Spec(uid, 1)] : [Spec(uid, 1), Spec("i3", 2)],
        1 => [Spec(uid, 2), Replica.Place(uid, "n1", 1)],
        2 => [Replica.Report(uid, 1, InstanceState.Running)],
        3 => [Replica.Health("n1", NodeLiveness.Down)],
        4 => [Replica.Health("n1", NodeLiveness.Ready)],
        _ => [new StoreOperation.Delete(Keys.Spec("default", "name-" + uid)), new StoreOperation.Delete(Keys.Placement(new(uid))), new StoreOperation.Delete(Keys.Status(new(uid)))],
    });

    private static StoreOperation.Put Spec(string uid, long generation)
    {
        var record = new Hypervisor.Server.Stores.Records.InstanceSpecRecord
        {
            Metadata = new() { Name = "name-" + uid, Project = "default", Uid = uid, Generation = generation },
            Spec = new() { Type = InstanceType.Container },
        };
        if (generation == 2)
        {
            record.Metadata.Labels["app"] = "a";
        }

        return new StoreOperation.Put(Keys.Spec("default", "name-" + uid), record.ToByteArray());
    }
}
