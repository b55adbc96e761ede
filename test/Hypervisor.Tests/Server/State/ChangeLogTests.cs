using Hypervisor.Protocol;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores.Records;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: of ten thousand agents each hears all that concerns it and nothing else (WatchExact), however busy the others are.</summary>
public sealed class ChangeLogTests
{
    private static readonly NodeId _node = new("a");

    private readonly ChangeLog _log = new(maxRevisions: 8, maxEntries: 1000, new FakeTimeProvider());
    private long _revision;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public void Who_follows_a_node_reads_what_concerns_it_in_order()
    {
        using var changes = _log.Subscribe(0);
        Append("a");
        Append("b");
        changes.Follow(_node);
        Append("b");
        Append("a", "b");

        Assert.Equal([1, 4], ReadAll(changes));
    }

    [Fact]
    public void More_changes_of_others_than_are_held_need_no_resync()
    {
        using var changes = _log.Subscribe(0);
        changes.Follow(_node);
        for (var other = 0; other < 20; other++)
        {
            Append("b");
        }

        Append("a");

        Assert.Equal([21], ReadAll(changes));
    }

    [Fact]
    public void More_changes_of_its_own_than_are_held_do_and_it_keeps_no_more_than_the_log()
    {
        using var changes = _log.Subscribe(0);
        changes.Follow(_node);
        for (var own = 0; own < 100; own++)
        {
            Append("a");
        }

        Assert.Equal(FeedReadKind.Resync, changes.Read().Kind);
        Assert.InRange(changes.Ahead.Count, 1, 9);
    }

    [Fact]
    public void Following_everything_again_repeats_and_loses_nothing()
    {
        using var changes = _log.Subscribe(0);
        changes.Follow(_node);
        Append("a");
        Append("b");
        Assert.Equal(1, changes.Read().Revision);
        Append("a");
        Append("b");

        changes.Follow(null);

        Assert.Equal([3, 4], ReadAll(changes));
        changes.Follow(_node);
        Append("b");
        Append("a");
        Assert.Equal([6], ReadAll(changes));
    }

    [Fact(Timeout = 60_000)]
    public async Task Who_waits_is_woken_by_its_own_change_only()
    {
        using var changes = _log.Subscribe(0);
        changes.Follow(_node);
        var read = changes.ReadAsync(TimeSpan.FromHours(1), Cancellation).AsTask();

        Append("b");
        Assert.False(read.IsCompleted);
        Append("a");

        Assert.Equal(2, (await read).Revision);
    }

    [Fact(Timeout = 60_000)]
    public async Task Who_waits_is_told_when_everything_was_read_anew()
    {
        using var changes = _log.Subscribe(0);
        changes.Follow(_node);
        var read = changes.ReadAsync(TimeSpan.FromHours(1), Cancellation).AsTask();

        _log.Reset(7);

        Assert.Equal(FeedReadKind.Resync, (await read).Kind);
    }

    private static List<long> ReadAll(ChangeSubscription changes)
    {
        var revisions = new List<long>();
        while (changes.Read() is { Kind: not FeedReadKind.Idle } read)
        {
            Assert.Equal(FeedReadKind.Change, read.Kind);
            revisions.Add(read.Revision);
        }

        return revisions;
    }

    private void Append(params ReadOnlySpan<string> nodes)
    {
        var tombstones = nodes.ToArray().Select(node => new EntryChange<TombstoneEntry>(null, Tombstone(node))).ToList();
        _log.Append(new(++_revision, [], [], [], tombstones, LeaderChanged: false));
    }

    private static TombstoneEntry Tombstone(string node) => new(new("i"), new TombstoneRecord { PendingNodeUids = { node } }, 1);
}
