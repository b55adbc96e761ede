using Hypervisor.Protocol.V1;
using Hypervisor.Server;
using Hypervisor.Server.Api.Events;
using Hypervisor.Server.Api.Lists;
using Hypervisor.Server.Api.Watches;
using Hypervisor.Server.Controllers;
using Hypervisor.Server.Events;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Hypervisor.Tests.Server.Events;

/// <summary>Protects: what happens is told once and counted after, within bounds, in the order it last happened.</summary>
public sealed class EventRecorderTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_happens_again_is_counted_and_keeps_when_it_first_happened()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (recorder, term) = Recorder(plane);
        var first = plane.Time.GetUtcNow();
        await HappenAsync(plane, recorder, term, Failed("a", "exit 1"));
        plane.Time.Advance(TimeSpan.FromMinutes(1));
        await HappenAsync(plane, recorder, term, Failed("a", "exit 2"), Failed("a", "exit 3"));

        var kept = Assert.Single((await plane.ViewAsync(Token)).Events).Event;
        Assert.Equal((3, "exit 3"), (kept.Count, kept.Message));
        Assert.Equal((first, plane.Time.GetUtcNow()), (kept.FirstAt.ToDateTimeOffset(), kept.LastAt.ToDateTimeOffset()));
    }

    [Fact]
    public async Task Of_one_object_the_oldest_go_first()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (recorder, term) = Recorder(plane);
        for (var index = 0; index < Limits.Events.PerObject + 3; index++)
        {
            await HappenAsync(plane, recorder, term, Failed("a", "x") with { Reason = $"Reason{index}" });
            plane.Time.Advance(TimeSpan.FromSeconds(1));
        }

        var kept = (await plane.ViewAsync(Token)).Events.Select(entry => entry.Event.Reason);
        Assert.Equal(Enumerable.Range(3, Limits.Events.PerObject).Select(index => $"Reason{index}"), kept);
    }

    [Fact]
    public async Task In_all_no_more_are_kept_than_the_bound()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (recorder, term) = Recorder(plane);

        // As many as wait at once each time, and enough of them that the first round is too much.
        for (var round = 0; round < (Limits.Events.Total / Limits.Events.Waiting) + 2; round++)
        {
            await HappenAsync(plane, recorder, term, [.. Enumerable.Range(0, Limits.Events.Waiting).Select(index => Failed($"r{round}-{index}", "x"))]);
            plane.Time.Advance(TimeSpan.FromSeconds(1));
        }

        var view = await plane.ViewAsync(Token);
        Assert.Equal(Limits.Events.Total, view.EventCount);
        Assert.DoesNotContain(view.Events, entry => entry.Event.ObjectUid.StartsWith("r0-", StringComparison.Ordinal));
    }

    [Fact]
    public void A_burst_of_kinds_is_bounded_and_says_how_many_it_lost()
    {
        var waiting = new WaitingEvents();
        for (var index = 0; index < Limits.Events.Waiting + 5; index++)
        {
            waiting.Add(Failed($"o{index}", "x"), DateTimeOffset.UnixEpoch);
        }

        Assert.Equal((Limits.Events.Waiting, 5), (waiting.Count, waiting.Lost));
    }

    [Fact]
    public async Task Nodes_that_come_and_are_heard_are_told_without_anyone_writing_an_event()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var term = new LeaderTerm((await plane.CampaignAsync(Token)).Guard);
        var before = plane.State.View;
        using var changes = plane.State.Subscribe(before.Revision);
        var registered = await plane.Registry.RegisterAsync(ControlPlane.Registration("node-a"), Token);
        await plane.Health.LookAsync(term, await plane.ViewAsync(Token), TimeSpan.FromMinutes(1), plane.Time.GetTimestamp(), Token);
        await plane.ViewAsync(Token);

        var told = new List<Occurrence>();
        while (changes.Read() is { Kind: FeedReadKind.Change } read)
        {
            told.AddRange(EventRules.Of(read.Change!));
        }

        Assert.Equal(["Registered", "NodeReady"], told.Select(occurrence => occurrence.Reason));
        Assert.All(told, occurrence => Assert.Equal((registered.Node.Metadata.Uid, "node-a", ""), (occurrence.ObjectUid, occurrence.ObjectName, occurrence.Project)));
    }

    [Fact]
    public async Task What_happens_while_nobody_leads_is_told_by_the_next_leader_once()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (recorder, term) = Recorder(plane);
        var begun = await recorder.BeginAsync(term, Token);
        await plane.Registry.RegisterAsync(ControlPlane.Registration("told"), Token);
        await HappenAsync(plane, recorder, term, ToldSince(plane, begun));

        // The leader is gone; somebody registers; another leads.
        await plane.Registry.RegisterAsync(ControlPlane.Registration("untold"), Token);
        await plane.ViewAsync(Token);
        var (next, _) = Recorder(plane);
        using var leading = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = next.RunAsync(term, leading.Token);
        await UntilAsync(plane, view => view.Events.Count() == 2);
        Assert.Equal([("told", 1), ("untold", 1)], plane.State.View.Events.Select(entry => (entry.Event.ObjectName, entry.Event.Count)).Order());
        await leading.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);

        // Everything is told: a third has nothing to add.
        Assert.Empty(ToldSince(plane, await Recorder(plane).Recorder.BeginAsync(term, Token)));
    }

    [Fact]
    public async Task Where_nobody_has_told_yet_telling_begins_now()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        await plane.Registry.RegisterAsync(ControlPlane.Registration("older"), Token);
        var present = (await plane.ViewAsync(Token)).Revision;
        var (recorder, term) = Recorder(plane);
        Assert.Equal(present, await recorder.BeginAsync(term, Token));
        Assert.Equal(present, await recorder.BeginAsync(term, Token));
    }

    [Fact]
    public async Task Lists_are_in_the_order_of_what_happened_last_and_watches_follow()
    {
        await using var plane = await ControlPlane.StartAsync(Token);
        var (recorder, term) = Recorder(plane);
        var reads = new EventReads(new PagedReads(plane.Reads, plane.Time), new WatchHub(plane.State, plane.Reads, plane.Time));
        await HappenAsync(plane, recorder, term, Failed("a", "x"));
        plane.Time.Advance(TimeSpan.FromSeconds(1));
        await HappenAsync(plane, recorder, term, Failed("b", "x") with { Project = "other" });
        plane.Time.Advance(TimeSpan.FromSeconds(1));
        await HappenAsync(plane, recorder, term, Failed("a", "x"));

        var page = await reads.ListAsync(new() { Project = "-", PageSize = 1 }, Token);
        var rest = await reads.ListAsync(new() { Project = "-", PageSize = 1, PageToken = page.List.NextPageToken }, Token);
        Assert.Equal(["b", "a"], page.Events.Concat(rest.Events).Select(entry => entry.ObjectUid));
        Assert.Equal(["a"], (await reads.ListAsync(new(), Token)).Events.Select(entry => entry.ObjectUid));
        Assert.Equal(["b"], (await reads.ListAsync(new() { Project = "-", ObjectUid = "b" }, Token)).Events.Select(entry => entry.ObjectUid));

        await using var watch = reads.WatchAsync(new() { ResourceVersion = page.List.ResourceVersion }, Token).GetAsyncEnumerator(Token);
        var next = watch.MoveNextAsync().AsTask();
        await HappenAsync(plane, recorder, term, Failed("a", "again"));
        Assert.True(await next.WaitAsync(TimeSpan.FromSeconds(10), RealClock.Instance, Token));
        Assert.Equal((WatchEventType.Modified, 3, "again"), (watch.Current.Type, watch.Current.Event.Count, watch.Current.Event.Message));
    }

    private static Occurrence Failed(string uid, string message) =>
        new("Instance", uid, $"name-{uid}", "default", "Failed", message, EventSeverity.Warning);

    // A term that the clock, which these tests move, does not end.
    private static (EventRecorder Recorder, LeaderTerm Term) Recorder(ControlPlane plane) => (
        new EventRecorder(plane.State, plane.Store, plane.Writer, plane.Time, NullLogger<EventRecorder>.Instance),
        new LeaderTerm(Compare.Absent("nobody")));

    private static Occurrence[] ToldSince(ControlPlane plane, long revision)
    {
        using var changes = plane.State.Subscribe(revision);
        var told = new List<Occurrence>();
        while (changes.Read() is { Kind: FeedReadKind.Change } read)
        {
            told.AddRange(EventRules.Of(read.Change!));
        }

        return [.. told];
    }

    private static async Task UntilAsync(ControlPlane plane, Func<ClusterView, bool> condition)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        patience.CancelAfter(TimeSpan.FromSeconds(30));
        while (!condition(plane.State.View))
        {
            plane.Time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Delay(TimeSpan.FromMilliseconds(5), RealClock.Instance, patience.Token);
        }
    }

    private static async Task HappenAsync(ControlPlane plane, EventRecorder recorder, LeaderTerm term, params Occurrence[] occurrences)
    {
        var waiting = new WaitingEvents();
        foreach (var occurrence in occurrences)
        {
            waiting.Add(occurrence, plane.Time.GetUtcNow());
        }

        Assert.True(await recorder.WriteAsync(term, waiting, plane.State.Revision, Token));
        Assert.Equal(0, waiting.Count);
    }
}
