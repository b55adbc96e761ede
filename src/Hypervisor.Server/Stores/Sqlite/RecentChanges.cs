using Hypervisor.Hosting.Waiting;

namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>
/// The newest revisions in memory, from which live watches read at their own pace: no watch has a queue, and one that falls
/// behind what is held here reads the file instead.
/// </summary>
internal sealed class RecentChanges
{
    private readonly Lock _gate = new();
    private readonly Queue<(ChangeBatch Batch, long Bytes)> _batches = new();
    private readonly List<Signal> _watchers = [];
    private long _bytes;
    private long _revision;
    private long _compacted;
    private bool _closed;

    public RecentChanges(long revision, long compacted) => (_revision, _compacted) = (revision, compacted);

    /// <summary>The newest durable revision.</summary>
    public long Revision
    {
        get
        {
            lock (_gate)
            {
                return _revision;
            }
        }
    }

    /// <summary>The oldest readable revision; 0 while all are.</summary>
    public long Compacted
    {
        get
        {
            lock (_gate)
            {
                return _compacted;
            }
        }
    }

    /// <summary>What a commit made durable, in order and following <see cref="Revision"/>.</summary>
    public void Publish(List<ChangeBatch> committed, long compacted)
    {
        lock (_gate)
        {
            foreach (var batch in committed)
            {
                var bytes = batch.Changes.Sum(change => 128L + change.Current.Value.Length);
                _batches.Enqueue((batch, bytes));
                _bytes += bytes;
                _revision = batch.Revision;
            }

            _compacted = Math.Max(_compacted, compacted);
            while (_batches.Count > Limits.Sqlite.RecentRevisions || (_bytes > Limits.Sqlite.RecentBytes && _batches.Count > 0))
            {
                _bytes -= _batches.Dequeue().Bytes;
            }

            Wake();
        }
    }

    /// <summary>The file was opened anew and may hold more than was known; watches read it from there.</summary>
    public void Restart(long revision)
    {
        lock (_gate)
        {
            _batches.Clear();
            _bytes = 0;
            _revision = revision;
            Wake();
        }
    }

    /// <summary>
    /// The next matching batches after a revision, complete up to <c>UpTo</c>; null if they are no longer held in memory.
    /// </summary>
    /// <exception cref="RevisionCompactedException">They are no longer held at all.</exception>
    /// <exception cref="StoreUnavailableException">The store is closed.</exception>
    public WatchStep? Read(string prefix, long after)
    {
        lock (_gate)
        {
            if (_closed)
            {
                throw new StoreUnavailableException("The store was closed; watch again once it is open.");
            }

            RevisionRules.CheckWatchable(after + 1, _compacted);
            if (after >= _revision)
            {
                return new WatchStep([], after);
            }

            if (!_batches.TryPeek(out var first) || first.Batch.Revision > after + 1)
            {
                return null;
            }

            List<ChangeBatch> matching = [];
            var upTo = after;
            foreach (var (batch, _) in _batches.Skip((int)(after + 1 - first.Batch.Revision)).Take(Limits.Sqlite.RevisionsPerStep))
            {
                upTo = batch.Revision;
                if (batch.Matching(prefix) is { } found)
                {
                    matching.Add(found);
                }
            }

            return new WatchStep(matching, upTo);
        }
    }

    public void Add(Signal watcher)
    {
        lock (_gate)
        {
            _watchers.Add(watcher);
        }
    }

    public void Remove(Signal watcher)
    {
        lock (_gate)
        {
            _watchers.Remove(watcher);
        }
    }

    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Wake();
        }
    }

    private void Wake()
    {
        foreach (var watcher in _watchers)
        {
            watcher.Set();
        }
    }
}

/// <summary>Part of a watch: the matching batches, complete up to a revision.</summary>
internal readonly record struct WatchStep(IReadOnlyList<ChangeBatch> Batches, long UpTo);
