using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol;
using Hypervisor.Server.Stores;

namespace Hypervisor.Server.State;

/// <summary>
/// The replica's view of the store: loaded at one revision, then fed by the store's watch and by nothing else.
/// <see cref="RunAsync"/> is its only writer; readers take <see cref="View"/>, which never changes under them.
/// </summary>
internal sealed partial class ClusterState
{
    private readonly IClusterStore _store;
    private readonly TimeProvider _time;
    private readonly IRandomSource _random;
    private readonly ILogger _logger;
    private readonly ClusterIdentityBootstrap _bootstrap;
    private readonly RevisionWaiters _waiters = new();
    private readonly ChangeLog _log;
    private OrphanedParts _orphans = new();
    private volatile ClusterView _view = ClusterView.Empty;
    private long _confirmedAt;

    public ClusterState(IClusterStore store, TimeProvider time, IRandomSource random, ILogger<ClusterState> logger)
    {
        (_store, _time, _random, _logger) = (store, time, random, logger);
        _bootstrap = new(store, random);
        _log = new(Limits.State.ChangeLogRevisions, Limits.State.ChangeLogEntries, time);
    }

    /// <summary>The latest view; <see cref="ClusterView.Empty"/> (revision 0) until the first load.</summary>
    public ClusterView View => _view;

    public long Revision => _view.Revision;

    public Incarnation Incarnation => _view.Incarnation;

    /// <summary>Whether there is a view to answer from.</summary>
    public bool Loaded => _view.Revision > 0;

    /// <summary>How long ago the view was last known to be what the store held.</summary>
    public TimeSpan Age => Loaded ? _time.GetElapsedTime(Interlocked.Read(ref _confirmedAt)) : TimeSpan.MaxValue;

    /// <summary>Waits until the view includes the revision; bound the wait by the token.</summary>
    /// <returns>A view at that revision or a later one.</returns>
    public async ValueTask<ClusterView> WaitForRevisionAsync(long revision, CancellationToken cancellationToken)
    {
        if (_view.Revision < revision)
        {
            await _waiters.WaitAsync(revision, () => _view.Revision, cancellationToken);
        }

        return _view;
    }

    /// <summary>Waits for the first load.</summary>
    public ValueTask<ClusterView> WaitUntilLoadedAsync(CancellationToken cancellationToken) => WaitForRevisionAsync(1, cancellationToken);

    /// <summary>
    /// Every change after the revision, from a bounded log. Take a <see cref="View"/> and subscribe after its revision to
    /// miss nothing.
    /// </summary>
    public ChangeSubscription Subscribe(long afterRevision) => _log.Subscribe(afterRevision);

    /// <summary>Says that the view includes all that the store held at that time (a timestamp of the clock).</summary>
    internal void Confirm(long timestamp)
    {
        // Confirmations may overtake each other; the latest counts.
        var known = Interlocked.Read(ref _confirmedAt);
        while (timestamp > known)
        {
            var seen = Interlocked.CompareExchange(ref _confirmedAt, timestamp, known);
            if (seen == known)
            {
                return;
            }

            known = seen;
        }
    }

    /// <summary>Keeps the view current until cancelled. Readers keep the last view while the store is away.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var failures = 0;
        while (true)
        {
            try
            {
                if (!Loaded)
                {
                    await LoadAsync(cancellationToken);
                }

                await FollowAsync(() => failures = 0, cancellationToken);
            }
            catch (RevisionCompactedException exception)
            {
                LogCompacted(_logger, Revision, exception.OldestRevision);
                await ReloadAsync(cancellationToken);
            }
            catch (StoreUnavailableException exception)
            {
                failures++;
                LogUnavailable(_logger, failures, exception);
                await PauseAsync(failures, cancellationToken);
            }
            catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
            {
                failures++;
                LogUnavailable(_logger, failures, exception);
                await PauseAsync(failures, cancellationToken);
            }
        }
    }

    private async Task ReloadAsync(CancellationToken cancellationToken)
    {
        for (var failures = 1; ; failures++)
        {
            try
            {
                await LoadAsync(cancellationToken);
                return;
            }
            catch (Exception exception) when (exception is RevisionCompactedException or StoreUnavailableException
                || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
            {
                LogUnavailable(_logger, failures, exception);
                await PauseAsync(failures, cancellationToken);
            }
        }
    }

    /// <summary>
    /// Reads the store as it was some revisions ago and follows it from there, so that the log of changes reaches back and
    /// watchers that were cut off by a restart resume without reading everything anew.
    /// </summary>
    private async Task LoadAsync(CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(Limits.State.LoadDeadline, _time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        await _bootstrap.EnsureAsync(linked.Token);

        var started = _time.GetTimestamp();
        var target = await _store.GetRevisionAsync(linked.Token);
        Loading loading;
        try
        {
            loading = await ReadAsync(Math.Max(1, target - Limits.State.ChangeLogRevisions), linked.Token);
        }
        catch (RevisionCompactedException compacted)
        {
            LogShortened(_logger, compacted.OldestRevision);
            loading = await ReadAsync(compacted.OldestRevision, linked.Token);
        }

        await CatchUpAsync(loading, target, linked.Token);
        _orphans = loading.Orphans;
        _view = loading.View;
        Confirm(started);
        _log.Reset(loading.Floor);
        foreach (var change in loading.Changes)
        {
            _log.Append(change);
        }

        _waiters.Advance(_view.Revision);
        LogLoaded(_logger, _view.Revision, _view.InstanceCount, _view.NodeCount);
    }

    private async Task<Loading> ReadAsync(long revision, CancellationToken cancellationToken)
    {
        var orphans = new OrphanedParts();
        var builder = new ViewBuilder(ClusterView.Empty, orphans);
        var start = "";
        RangeResult page;
        do
        {
            page = await _store.RangeAsync(new(start, RangeQuery.PrefixEnd(""), revision, Limits.State.LoadPageKeys), cancellationToken);
            foreach (var item in page.Items)
            {
                builder.Put(item);
                start = item.Key + "\0";
            }
        }
        while (page.More);

        return new(builder.Build(revision).View, orphans);
    }

    private async Task CatchUpAsync(Loading loading, long target, CancellationToken cancellationToken)
    {
        if (loading.View.Revision >= target)
        {
            return;
        }

        await foreach (var batch in _store.WatchAsync("", loading.View.Revision + 1, cancellationToken))
        {
            loading.Take(batch);
            if (loading.View.Revision >= target)
            {
                return;
            }
        }
    }

    private async Task FollowAsync(Action progressed, CancellationToken cancellationToken)
    {
        // A watch that says nothing for so long may be dead without knowing it; beginning again where it stood costs little.
        using var quiet = new CancellationTokenSource();
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(quiet.Token, cancellationToken);
        await using var timer = _time.CreateTimer(
            static state => ((CancellationTokenSource)state!).Cancel(), quiet, Limits.State.WatchSilence, Timeout.InfiniteTimeSpan);
        try
        {
            await foreach (var batch in _store.WatchAsync("", _view.Revision + 1, linked.Token))
            {
                progressed();
                Apply(batch);
                timer.Change(Limits.State.WatchSilence, Timeout.InfiniteTimeSpan);
            }
        }
        catch (OperationCanceledException) when (quiet.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            LogSilent(_logger, Revision);
        }
    }

    private void Apply(ChangeBatch batch)
    {
        if (batch.Revision <= _view.Revision)
        {
            return;
        }

        var (view, change) = After(_view, _orphans, batch);
        _view = view;
        _log.Append(change);
        _waiters.Advance(batch.Revision);
    }

    private static (ClusterView View, StateChange Change) After(ClusterView view, OrphanedParts orphans, ChangeBatch batch)
    {
        var builder = new ViewBuilder(view, orphans);
        foreach (var change in batch.Changes)
        {
            if (change.Deleted)
            {
                builder.Delete(change.Current.Key, change.Current.ModRevision);
            }
            else
            {
                builder.Put(change.Current);
            }
        }

        return builder.Build(batch.Revision);
    }

    private Task PauseAsync(int failures, CancellationToken cancellationToken) => Task.Delay(
        Backoff.DelayAfter(failures, Limits.State.RetryMinimum, Limits.State.RetryMaximum, _random.NextUnit()), _time, cancellationToken);

    [LoggerMessage(Level = LogLevel.Information, Message = "View loaded at revision {Revision}: {Instances} instances, {Nodes} nodes")]
    private static partial void LogLoaded(ILogger logger, long revision, int instances, int nodes);

    [LoggerMessage(Level = LogLevel.Information, Message = "The store's history begins at revision {Oldest}; watchers from before the load have to read anew")]
    private static partial void LogShortened(ILogger logger, long oldest);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The store no longer holds the changes after revision {Revision} (oldest is {Oldest}); reading everything anew")]
    private static partial void LogCompacted(ILogger logger, long revision, long oldest);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The store could not be followed (failure {Failures} in a row); trying again")]
    private static partial void LogUnavailable(ILogger logger, int failures, Exception exception);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The store's watch was silent after revision {Revision}; watching anew from there")]
    private static partial void LogSilent(ILogger logger, long revision);

    /// <summary>A view on its way to the present; nobody sees it before it is there.</summary>
    private sealed class Loading(ClusterView view, OrphanedParts orphans)
    {
        private readonly Queue<StateChange> _changes = new();
        private int _entries;

        /// <summary>Every change after this revision is kept.</summary>
        public long Floor { get; private set; } = view.Revision;

        public ClusterView View { get; private set; } = view;

        public OrphanedParts Orphans => orphans;

        public IEnumerable<StateChange> Changes => _changes;

        public void Take(ChangeBatch batch)
        {
            (View, var change) = After(View, orphans, batch);
            _changes.Enqueue(change);
            _entries += change.EntryCount;
            while (_entries > Limits.State.ChangeLogEntries)
            {
                var dropped = _changes.Dequeue();
                _entries -= dropped.EntryCount;
                Floor = dropped.Revision;
            }
        }
    }
}
