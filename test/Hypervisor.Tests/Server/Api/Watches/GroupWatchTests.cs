using Grpc.Core;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Groups;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Tests.Server.Groups;
using Xunit;

namespace Hypervisor.Tests.Server.Api.Watches;

/// <summary>
/// Protects: WatchExact and WatchEqualsList for groups, whose numbers are counted from their members: what a watch tells adds up to what a list shows, from
/// wherever it resumes.
/// </summary>
public sealed class GroupWatchTests : IAsyncLifetime
{
    private GroupWorld _world = null!;
    private GroupWatch _watch = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _world = await GroupWorld.StartAsync();
        _watch = new(new WatchHub(_world.Plane.State, _world.Plane.Reads, _world.Plane.Time), _world.Plane.Reads);
    }

    public ValueTask DisposeAsync() => _world.DisposeAsync();

    [Fact(Timeout = 120_000)]
    public async Task Whatever_members_do_a_watch_that_resumes_anywhere_equals_the_list()
    {
        await _world.CreateAsync("web", 3);
        var whole = new Model();
        await using var watch = _watch.RunAsync(new(), Token).GetAsyncEnumerator(Token);
        await FollowAsync(watch, whole);
        Assert.Equal(WatchEventType.Bookmark, whole.Seen[^1].Type);

        await _world.RollAsync("web", rounds: 3);
        await _world.CreateAsync("api", 2);
        await _world.RollAsync("api", rounds: 2);
        await _world.ImageAsync("web", "nginx");
        await _world.RollAsync("web", rounds: 6);
        await _world.Plane.DeleteAsync((await _world.MembersAsync("web"))[0].Id, Token);
        await _world.RollAsync("web", rounds: 2);
        await _world.Api.Updates.DeleteAsync(new() { Group = "api" }, Token);
        await _world.RollAsync("api", rounds: 2);
        await FollowAsync(watch, whole);

        var listed = (await _world.Api.Queries.ListAsync(new(), Token)).Groups.ToList();
        Assert.Equal("web", Assert.Single(listed).Metadata.Name);
        Assert.Equal(listed, whole.Groups);
        Assert.Contains(whole.Seen, each => each is { Type: WatchEventType.Deleted, Group.Metadata.Name: "api" });
        Assert.Contains(whole.Seen, each => each is { Type: WatchEventType.Modified, Group: { Metadata.Name: "web", Status: { Ready: 2, Current: 3 } } });

        // Only with the last event of a revision is there something to resume from.
        var positions = whole.Seen.Where(each => each.ResourceVersion > 0).Select(each => each.ResourceVersion).Distinct().ToList();
        Assert.True(positions.Count > 10);
        foreach (var from in positions.Where((_, index) => index % 5 == 0))
        {
            var resumed = whole.At(from);
            await using var rest = _watch.RunAsync(new() { ResourceVersion = from }, Token).GetAsyncEnumerator(Token);
            await FollowAsync(rest, resumed);
            Assert.Equal(listed, resumed.Groups);
        }
    }

    /// <summary>Protects: ten thousand members that report again what is known wake nobody.</summary>
    [Fact(Timeout = 60_000)]
    public async Task What_changes_no_number_is_no_event()
    {
        await _world.CreateAsync("web", 2);
        await _world.RollAsync("web", rounds: 3);
        var model = new Model();
        await using var watch = _watch.RunAsync(new(), Token).GetAsyncEnumerator(Token);
        await FollowAsync(watch, model);
        var member = (await _world.MembersAsync("web"))[0];

        await _world.ReportAsync(member, InstanceState.Running, status => status.Message = "still");
        await FollowAsync(watch, model);
        Assert.Equal([WatchEventType.Added, WatchEventType.Bookmark, WatchEventType.Bookmark], model.Seen.Select(each => each.Type));

        var version = (await _world.EntryAsync("web")).ResourceVersion.Value;
        await _world.ReportAsync(member, InstanceState.Stopped);
        await FollowAsync(watch, model);
        var changed = Assert.Single(model.Seen, each => each.Type == WatchEventType.Modified);
        Assert.Equal((1, 2, version), (changed.Group.Status.Ready, changed.Group.Status.Current, changed.Group.Metadata.ResourceVersion));
        Assert.True(changed.ResourceVersion > version);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_selector_and_a_single_group_show_no_other()
    {
        var web = await _world.CreateAsync("web", 0);
        await _world.CreateAsync("api", 0);
        await _world.Api.Creation.CreateAsync(WithLabel("labelled"), Token);

        Assert.Equal(["web"], await NamesAsync(new() { Group = "web" }));
        Assert.Equal(["web"], await NamesAsync(new() { Group = web.Metadata.Uid }));
        Assert.Equal(["labelled"], await NamesAsync(new() { LabelSelector = "tier=front" }));
        Assert.Equal(["api", "labelled", "web"], await NamesAsync(new() { Project = "-" }));
        Assert.Empty(await NamesAsync(new() { Project = "other" }));
    }

    [Theory(Timeout = 60_000)]
    [InlineData("default", "", "a b", 0, StatusCode.InvalidArgument)]
    [InlineData("-", "web", "", 0, StatusCode.InvalidArgument)]
    [InlineData("default", "No Name", "", 0, StatusCode.InvalidArgument)]
    [InlineData("default", "", "", -1, StatusCode.InvalidArgument)]
    [InlineData("default", "unknown", "", 0, StatusCode.NotFound)]
    public async Task What_cannot_be_watched_is_refused(string project, string group, string selector, long version, StatusCode expected)
    {
        var request = new WatchGroupsRequest { Project = project, Group = group, LabelSelector = selector, ResourceVersion = version };

        var refused = await Assert.ThrowsAsync<RpcException>(async () => await _watch.RunAsync(request, Token).FirstAsync(Token));

        Assert.Equal(expected, refused.StatusCode);
    }

    [Fact(Timeout = 60_000)]
    public async Task A_version_of_another_incarnation_means_resync_and_the_end()
    {
        var other = ResourceVersion.Of(new Incarnation(2), 1).Value;

        var events = await _watch.RunAsync(new() { ResourceVersion = other }, Token).ToListAsync(Token);

        Assert.Equal(WatchEventType.Resync, Assert.Single(events).Type);
    }

    private static CreateGroupRequest WithLabel(string name)
    {
        var request = GroupWorld.NewRequest(name, 0);
        request.Labels["tier"] = "front";
        return request;
    }

    private async Task<List<string>> NamesAsync(WatchGroupsRequest request) =>
        await _watch.RunAsync(request, Token).TakeWhile(each => each.Type == WatchEventType.Added).Select(each => each.Group.Metadata.Name).ToListAsync(Token);

    /// <summary>Up to everything that was written so far.</summary>
    private async Task FollowAsync(IAsyncEnumerator<WatchGroupsResponse> watch, Model model)
    {
        var end = (await _world.Plane.ViewAsync(Token)).ResourceVersion.Value;
        while (model.Position < end)
        {
            // Nothing may match any more: then the bookmark tells how far the watch is.
            var next = watch.MoveNextAsync().AsTask();
            await _world.Plane.Time.AdvanceUntilAsync(next, Limits.Api.WatchBookmarkInterval);
            Assert.True(await next);
            model.Apply(watch.Current);
        }
    }

    /// <summary>A client that keeps what it was told, and notices disorder.</summary>
    private sealed class Model
    {
        private readonly SortedDictionary<string, Group> _groups = new(StringComparer.Ordinal);

        public List<WatchGroupsResponse> Seen { get; } = [];

        public long Position { get; private set; }

        public IEnumerable<Group> Groups => _groups.Values.OrderBy(group => group.Metadata.Name, StringComparer.Ordinal);

        public void Apply(WatchGroupsResponse response)
        {
            Assert.NotEqual(WatchEventType.Resync, response.Type);
            Assert.True(response.ResourceVersion >= Position, "the position went back");
            Seen.Add(response.Clone());
            Position = response.ResourceVersion;
            if (response.Group is not { } group)
            {
                return;
            }

            var known = _groups.ContainsKey(group.Metadata.Uid);
            Assert.Equal(known, response.Type is WatchEventType.Modified or WatchEventType.Deleted);
            if (response.Type == WatchEventType.Deleted)
            {
                _groups.Remove(group.Metadata.Uid);
            }
            else
            {
                _groups[group.Metadata.Uid] = group.Clone();
            }
        }

        /// <summary>What it knew when it came there: what follows with the same position is of the next revision.</summary>
        public Model At(long position)
        {
            var earlier = new Model();
            foreach (var response in Seen.TakeWhile(_ => earlier.Position != position))
            {
                earlier.Apply(response);
            }

            return earlier;
        }
    }
}
