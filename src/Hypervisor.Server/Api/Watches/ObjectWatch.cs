using System.Runtime.CompilerServices;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Watches;

/// <summary>What a watch is about.</summary>
/// <param name="All">Every object of the kind in a view.</param>
/// <param name="Changes">The kind's part of a change.</param>
/// <param name="Matches">The watched set.</param>
/// <param name="VersionOf">An object's own version.</param>
internal sealed record WatchedSet<TEntry>(
    Func<ClusterView, IEnumerable<TEntry>> All,
    Func<StateChange, IReadOnlyList<EntryChange<TEntry>>> Changes,
    Func<TEntry, bool> Matches,
    Func<TEntry, ResourceVersion> VersionOf)
    where TEntry : class;

/// <summary>One event of a watch before it is rendered.</summary>
/// <param name="Entry">For DELETED the last one that was in the set; null for BOOKMARK and RESYNC.</param>
/// <param name="ObjectVersion">What metadata.resource_version shows: for DELETED the revision that took it out of the set.</param>
/// <param name="Position">A watch from here misses nothing: it moves on with the last event of a revision only.</param>
internal readonly record struct WatchItem<TEntry>(WatchEventType Type, TEntry? Entry, ResourceVersion ObjectVersion, ResourceVersion Position)
    where TEntry : class;

/// <summary>Follows a set of objects from a resource version on: no gap, no duplicate, no reordering, or RESYNC.</summary>
internal sealed class ObjectWatch<TEntry>(ClusterState state, ViewReads reads, TimeProvider time, WatchedSet<TEntry> set)
    where TEntry : class
{
    /// <param name="from">None begins with the present objects.</param>
    /// <exception cref="Grpc.Core.RpcException">OUT_OF_RANGE for a version that the store does not reach.</exception>
    public async IAsyncEnumerable<WatchItem<TEntry>> RunAsync(
        ResourceVersion from, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var view = await reads.ViewAsync(Consistency.Linearizable, cancellationToken);
        if (from != ResourceVersion.None)
        {
            if (from.IncarnationNumber != view.Incarnation.Value)
            {
                yield return Resync(view.ResourceVersion);
                yield break;
            }

            await ReachAsync(from, cancellationToken);
        }

        var position = from;
        using var subscription = state.Subscribe(from == ResourceVersion.None ? view.Revision : from.Revision);
        if (from == ResourceVersion.None)
        {
            foreach (var entry in set.All(view).Where(set.Matches))
            {
                // Until the list is complete there is nothing to resume from but the beginning.
                yield return new(WatchEventType.Added, entry, set.VersionOf(entry), ResourceVersion.None);
            }

            position = view.ResourceVersion;
            yield return new(WatchEventType.Bookmark, null, default, position);
        }

        var lastSent = time.GetTimestamp();
        while (true)
        {
            // Changes of other objects wake it too: counted from the last event, not from the last of these. In the timer's whole
            // milliseconds, rounded up.
            var due = Limits.Api.WatchBookmarkInterval - time.GetElapsedTime(lastSent);
            var read = await subscription.ReadAsync(TimeSpan.FromMilliseconds(Math.Max(1, Math.Ceiling(due.TotalMilliseconds))), cancellationToken);
            if (read.Kind == FeedReadKind.Resync)
            {
                yield return Resync(state.View.ResourceVersion);
                yield break;
            }

            var reached = ResourceVersion.Of(view.Incarnation, read.Revision);
            var items = read.Change is null ? [] : Items(read.Change, reached);
            for (var index = 0; index < items.Count; index++)
            {
                yield return items[index] with { Position = index == items.Count - 1 ? reached : position };
                lastSent = time.GetTimestamp();
            }

            if (items.Count == 0 && time.GetElapsedTime(lastSent) >= Limits.Api.WatchBookmarkInterval)
            {
                lastSent = time.GetTimestamp();
                yield return new(WatchEventType.Bookmark, null, default, reached);
            }

            position = reached;
        }
    }

    private List<WatchItem<TEntry>> Items(StateChange change, ResourceVersion reached)
    {
        var items = new List<WatchItem<TEntry>>();
        foreach (var (old, current) in set.Changes(change))
        {
            var was = old is not null && set.Matches(old);
            var isNow = current is not null && set.Matches(current);
            if (isNow)
            {
                items.Add(new(was ? WatchEventType.Modified : WatchEventType.Added, current, set.VersionOf(current!), default));
            }
            else if (was)
            {
                items.Add(new(WatchEventType.Deleted, old, reached, default));
            }
        }

        return items;
    }

    private async Task ReachAsync(ResourceVersion from, CancellationToken cancellationToken)
    {
        if (state.Revision >= from.Revision)
        {
            return;
        }

        // Another replica may have been ahead; a version that nobody ever reached must not wait for ever.
        using var deadline = new CancellationTokenSource(Limits.Api.WatchFutureWait, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await state.WaitForRevisionAsync(from.Revision, linked.Token);
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw ApiErrors.OutOfRange(
                "RESOURCE_VERSION_IN_FUTURE",
                $"resource_version {from} lies after everything this server knows ({state.View.ResourceVersion}); "
                + "take one from an answer of this cluster, or 0 to begin with the present state.");
        }
    }

    private static WatchItem<TEntry> Resync(ResourceVersion present) => new(WatchEventType.Resync, null, default, present);
}
